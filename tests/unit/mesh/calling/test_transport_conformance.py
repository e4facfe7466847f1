"""What every transport must do, asked of unary calls and of lanes alike, in plain text and
with certificates at both ends.

Each test runs over both, against a real server behind real sockets.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.calling.transport import ConnectionBroken, NoAnswer, Transport
from mesh.calling.unary import MAX_MESSAGE_BYTES
from mesh.calls import Metadata
from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unimplemented,
)
from mesh.process.server import Server
from tests.unit.mesh.echo import (
    ECHO,
    PLAYERS_ECHO,
    REFUSAL,
    USER_ID,
    Callers,
    Echo,
    EchoProcess,
    echo_server,
)
from tests.unit.registry.running import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@dataclass(frozen=True)
class Way:
    """How calls are carried; `tls_directory` is None for plain text."""

    kind: str
    tls_directory: Path | None

    def callers(self) -> Callers:
        return Callers(self.tls_directory)


class House:
    """A running server in this process, and a transport that leads to it."""

    def __init__(self, way: Way, max_calls_of_a_kind: int = 1024) -> None:
        self.callers = way.callers()
        self.echo = Echo()
        self.max_calls_of_a_kind = max_calls_of_a_kind
        self.server = self._new_server("127.0.0.1:0")
        self.transport: Transport = self.callers.transport(way.kind)

    def _new_server(self, listen: str) -> Server:
        return echo_server(
            self.callers.key,
            self.echo,
            listen,
            self.max_calls_of_a_kind,
            self.callers.security,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def call(
        self,
        request: bytes,
        *,
        seconds: float = 5.0,
        method: str = ECHO,
        metadata: Metadata | None = None,
    ) -> bytes:
        metadata = self.callers.metadata if metadata is None else metadata
        return await self.transport.call(self.address, method, request, metadata, seconds)

    def begin(self, request: bytes, seconds: float = 5.0) -> "asyncio.Task[bytes]":
        return asyncio.create_task(self.call(request, seconds=seconds))

    async def restart(self) -> None:
        address = self.address
        await self.server.stop(0)
        self.server = self._new_server(address)
        await self.server.start()

    async def close(self) -> None:
        await self.transport.close()
        await self.server.stop(0)


@pytest.fixture(scope="module")
def tls_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    make_authority(now_utc()).issue(directory, "gacha_svc", ["127.0.0.1"], now_utc())
    return directory


@pytest.fixture(params=["unary", "lane", "unary-tls", "lane-tls"])
def way(request: pytest.FixtureRequest, tls_directory: Path) -> Way:
    kind, _, tls = str(request.param).partition("-")
    return Way(kind, tls_directory if tls else None)


@pytest.fixture
async def house(way: Way) -> AsyncIterator[House]:
    house = House(way)
    await house.server.start()
    yield house
    await house.close()


@pytest.fixture
def process(tmp_path: Path, way: Way) -> Iterator[tuple[EchoProcess, Callers]]:
    callers = way.callers()
    process = EchoProcess(callers, tmp_path)
    yield process, callers
    process.kill()


async def test_a_call_is_answered(house: House) -> None:
    assert await house.call(b"hi") == b"echo hi"
    assert await house.call(b"") == b"echo "


async def test_an_empty_response_is_a_response(house: House) -> None:
    assert await house.call(b"large 0") == b""


async def test_metadata_reaches_the_method(house: House) -> None:
    metadata = {**house.callers.metadata, "traceparent": TRACEPARENT}
    await house.call(b"hi", metadata=metadata)
    (call,) = house.echo.calls
    assert (call.path, call.trace_id) == (ECHO, TRACE_ID)


async def test_a_refusal_arrives_with_all_its_details(house: House) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await house.call(b"refuse")
    error = caught.value
    assert (error.message, error.reason) == (REFUSAL.message, REFUSAL.reason)
    assert error.metadata == REFUSAL.metadata
    assert error.fields == REFUSAL.fields
    assert error.retry_after_seconds == REFUSAL.retry_after_seconds


async def test_a_bug_is_told_by_its_trace_id_and_nothing_else(house: House) -> None:
    with pytest.raises(Internal) as caught:
        await house.call(b"fail", metadata={**house.callers.metadata, "traceparent": TRACEPARENT})
    assert caught.value.message == f"Internal error; quote trace id {TRACE_ID}."


async def test_an_unknown_method_is_unimplemented(house: House) -> None:
    with pytest.raises(Unimplemented):
        await house.call(b"hi", method="/echo.v1.EchoService/Nothing")


async def test_each_call_shows_its_own_token(house: House) -> None:
    await house.call(b"hi")
    with pytest.raises(Unauthenticated) as unauthenticated:
        await house.call(b"hi", metadata={})
    assert unauthenticated.value.reason == "TOKEN_MISSING"
    with pytest.raises(PermissionDenied) as denied:
        await house.call(b"hi", metadata=house.callers.player_metadata())
    assert denied.value.reason == "WRONG_CALLER"


async def test_a_players_call_is_the_players(house: House) -> None:
    player = house.callers.player_metadata()
    await house.call(b"hi", method=PLAYERS_ECHO, metadata=player)
    assert house.echo.calls[0].user_id == USER_ID
    with pytest.raises(PermissionDenied):
        await house.call(b"hi", method=PLAYERS_ECHO)


async def test_the_deadline_travels_and_shrinks(house: House) -> None:
    await house.transport.connect(house.address, 5.0)
    await house.call(b"hi", seconds=2.0)
    (call,) = house.echo.calls
    # gRPC rounds a timeout up.
    assert 0.0 < call.deadline.remaining_seconds() < 2.1


async def test_no_answer_in_time_is_told_and_ends_the_method(house: House) -> None:
    await house.transport.connect(house.address, 5.0)
    began = monotonic()
    with pytest.raises(DeadlineExceeded):
        await house.call(b"wait", seconds=0.2)
    assert 0.15 < monotonic() - began < 5.0
    await asyncio.wait_for(house.echo.cancelled.wait(), 5.0)


async def test_cancelling_the_caller_cancels_the_method(house: House) -> None:
    calling = house.begin(b"wait", seconds=30.0)
    await until(lambda: bool(house.echo.calls))
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(house.echo.cancelled.wait(), 5.0)
    assert await house.call(b"hi") == b"echo hi"


async def test_a_call_cancelled_before_it_left_runs_nowhere(house: House) -> None:
    await house.transport.connect(house.address, 5.0)
    calling = house.begin(b"wait")
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait((calling,))
    assert await house.call(b"hi") == b"echo hi"
    await until(lambda: len(house.echo.calls) == 1 or house.echo.cancelled.is_set())


async def test_the_largest_messages_arrive(house: House) -> None:
    request = b"y" * MAX_MESSAGE_BYTES
    assert (await house.call(request[: -len(b"echo ")], seconds=20.0)).endswith(b"yy")
    response = await house.call(b"large %d" % MAX_MESSAGE_BYTES, seconds=20.0)
    assert len(response) == MAX_MESSAGE_BYTES
    # The request alone is at its bound; what it is answered with is beyond it.
    with pytest.raises(ResourceExhausted):
        await house.call(request, seconds=20.0)
    assert len(house.echo.calls) == 3


async def test_what_is_too_large_fails_alone(house: House) -> None:
    neighbour = house.begin(b"wait")
    with pytest.raises(ResourceExhausted):
        await house.call(b"y" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ResourceExhausted):
        await house.call(b"large %d" % (MAX_MESSAGE_BYTES + 1))
    house.echo.release.set()
    assert await neighbour == b"echo wait"


async def test_large_calls_among_many_all_arrive(house: House) -> None:
    requests = [b"%d " % i + b"z" * (400_000 if i % 5 == 0 else 10) for i in range(40)]
    answers = await asyncio.gather(*(house.call(r, seconds=30.0) for r in requests))
    assert answers == [b"echo " + request for request in requests]


async def test_a_call_that_waits_holds_up_no_other(house: House) -> None:
    requests = [b"wait %d" % n if n % 2 else b"hi %d" % n for n in range(60)]
    calls = [house.begin(request, seconds=30.0) for request in requests]
    assert await asyncio.gather(*calls[::2]) == [b"echo " + each for each in requests[::2]]
    assert not any(call.done() for call in calls[1::2])
    house.echo.release.set()
    assert await asyncio.gather(*calls[1::2]) == [b"echo " + each for each in requests[1::2]]


async def test_calls_beyond_the_servers_bound_are_shed_at_once(way: Way) -> None:
    house = House(way, max_calls_of_a_kind=2)
    await house.server.start()
    waiting = [house.begin(b"wait") for _ in range(2)]
    await until(lambda: len(house.echo.calls) == 2)
    with pytest.raises(ResourceExhausted) as caught:
        await house.call(b"hi")
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("OVERLOADED", 1.0)
    house.echo.release.set()
    await asyncio.gather(*waiting)
    assert await house.call(b"hi") == b"echo hi"
    await house.close()


async def test_a_draining_server_answers_what_it_has_and_takes_nothing_new(house: House) -> None:
    running = house.begin(b"wait")
    await until(lambda: bool(house.echo.calls))
    stopping = asyncio.create_task(house.server.stop(20.0))

    async def is_refused() -> bool:
        try:
            await house.call(b"hi", seconds=1.0)
        except ConnectionBroken:
            return True
        return False

    async with asyncio.timeout(5.0):
        while not await is_refused():
            await asyncio.sleep(0.01)
    assert not running.done()
    began = monotonic()
    house.echo.release.set()
    assert await running == b"echo wait"
    await stopping
    assert monotonic() - began < 5.0


async def test_a_method_may_still_be_cancelled_while_the_server_drains(house: House) -> None:
    running = house.begin(b"wait")
    await until(lambda: bool(house.echo.calls))
    stopping = asyncio.create_task(house.server.stop(20.0))
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait_for(house.echo.cancelled.wait(), 5.0)
    await asyncio.wait_for(stopping, 5.0)


async def test_idle_connections_do_not_hold_a_stopping_server(house: House) -> None:
    await house.call(b"hi")
    began = monotonic()
    await house.server.stop(20.0)
    assert monotonic() - began < 5.0


async def test_a_server_that_stops_at_once_breaks_its_calls(house: House) -> None:
    running = house.begin(b"wait")
    await until(lambda: bool(house.echo.calls))
    await house.server.stop(0)
    with pytest.raises(ConnectionBroken) as caught:
        await running
    assert caught.value.was_sent


async def test_a_restarted_server_is_found_soon(house: House) -> None:
    await house.call(b"hi")
    await house.restart()
    began = monotonic()
    while True:
        try:
            assert await house.call(b"hi") == b"echo hi"
            break
        except ConnectionBroken:
            await asyncio.sleep(0.01)
    assert monotonic() - began < 5.0


async def test_connecting_sends_nothing_and_is_idempotent(house: House) -> None:
    await house.transport.connect(house.address, 5.0)
    await house.transport.connect(house.address, 0.001)
    assert house.echo.calls == []


async def test_where_nobody_listens_nothing_was_sent(house: House) -> None:
    await house.server.stop(0)
    with pytest.raises(ConnectionBroken) as caught:
        await house.transport.connect(house.address, 5.0)
    assert not caught.value.was_sent
    with pytest.raises(ConnectionBroken):
        await house.call(b"hi")


async def test_a_peer_that_never_says_a_word_is_given_up_in_time(house: House) -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    began = monotonic()
    with pytest.raises((NoAnswer, ConnectionBroken)) as caught:
        await house.transport.connect(address, 0.2)
    error: Any = caught.value
    assert not error.was_sent
    with pytest.raises((NoAnswer, ConnectionBroken)):
        await house.transport.call(address, ECHO, b"hi", {}, 0.2)
    assert monotonic() - began < 5.0
    mute.close()
    for writer in writers:
        writer.close()


async def test_an_unwanted_connection_goes_and_comes_again(house: House) -> None:
    await house.call(b"hi")
    house.transport.retain([])
    transport: Any = house.transport
    await until(lambda: house.address not in transport._connections)
    assert await house.call(b"hi") == b"echo hi"


async def test_a_connection_that_is_wanted_again_stays(house: House) -> None:
    await house.call(b"hi")
    transport: Any = house.transport
    connection = transport._connections.to(house.address)
    house.transport.retain([])
    house.transport.retain([house.address])
    await asyncio.sleep(0.2)
    assert transport._connections.to(house.address) is connection


async def test_closing_ends_the_calls_under_way_and_their_methods(house: House) -> None:
    running = house.begin(b"wait", seconds=30.0)
    await until(lambda: bool(house.echo.calls))
    await house.transport.close()
    done, _ = await asyncio.wait((running,), timeout=5.0)
    assert done
    await asyncio.wait_for(house.echo.cancelled.wait(), 5.0)


async def test_a_killed_server_breaks_its_calls(
    way: Way, process: tuple[EchoProcess, Callers]
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    calls = [
        asyncio.create_task(transport.call(server.address, ECHO, b"wait", callers.metadata, 20.0))
        for _ in range(5)
    ]
    await asyncio.sleep(0.2)
    began = monotonic()
    server.process.kill()
    for call in calls:
        with pytest.raises(ConnectionBroken) as caught:
            await call
        assert caught.value.was_sent
    assert monotonic() - began < 5.0
    await transport.close()


async def test_a_frozen_server_costs_no_more_than_the_timeout(
    way: Way, process: tuple[EchoProcess, Callers]
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    server.process.send_signal(signal.SIGSTOP)
    began = monotonic()
    calls = [
        asyncio.create_task(transport.call(server.address, ECHO, b"hi", callers.metadata, 0.5))
        for _ in range(20)
    ]
    for call in calls:
        with pytest.raises(NoAnswer):
            await call
    assert monotonic() - began < 5.0
    server.process.send_signal(signal.SIGCONT)
    answer = await transport.call(server.address, ECHO, b"again", callers.metadata, 5.0)
    assert answer == b"echo again"
    await transport.close()


async def test_a_killed_server_that_comes_back_on_its_port_is_found(
    way: Way, process: tuple[EchoProcess, Callers], tmp_path: Path
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    server.process.kill()
    server.process.wait()
    with pytest.raises(ConnectionBroken):
        await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    again = EchoProcess(callers, tmp_path, server.address)
    async with asyncio.timeout(5.0):
        while True:
            try:
                await transport.call(again.address, ECHO, b"hi", callers.metadata, 5.0)
                break
            except ConnectionBroken:
                await asyncio.sleep(0.02)
    await transport.close()
    again.kill()


@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_no_answer_never_comes_before_the_time_is_over(way: Way, loops: str) -> None:
    """Otherwise the client above takes the instance, and not the deadline, for the cause."""

    async def try_short_timeouts() -> None:
        house = House(way)
        await house.server.start()
        await house.transport.connect(house.address, 5.0)
        for timeout_us in (0, 1, 50, 200, 400, 1_400, 2_450, 5_300) * 4:
            seconds = timeout_us / 1e6
            began = monotonic()
            with pytest.raises(DeadlineExceeded):
                await house.call(b"wait", seconds=seconds)
            assert monotonic() - began >= seconds
        await house.close()

    runner = uvloop.run if loops == "uvloop" else asyncio.run
    runner(try_short_timeouts())
