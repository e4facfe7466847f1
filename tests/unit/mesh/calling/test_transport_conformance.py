"""What a call must do on every transport: unary calls and lanes, plain and over TLS.

Each test runs over each of them, against a real server behind real sockets.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.calling.unary import MAX_MESSAGE_BYTES
from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unimplemented,
)
from tests.unit.mesh.calling.transport_house import House, Way
from tests.unit.mesh.echo import (
    ECHO,
    PLAYERS_ECHO,
    REFUSAL,
    USER_ID,
)
from tests.unit.registry.running import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


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
