"""What one connection to a gRPC port may hold."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.process.server import Server
from mesh.serving.connections import CHECK_SECONDS, share_of_site
from mesh.serving.port_bounds import PORT_BOUNDS, PortBounds
from tests.http2 import (
    MAX_CONCURRENT_STREAMS,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    Http2,
    settings_of,
)
from tests.unit.mesh.echo import ECHO, Callers, Echo, echo_server

ABOVE = 20
MAX_STREAMS = PORT_BOUNDS.max_connection_streams
OTHER_ADDRESS = "127.0.0.2"
MAX_OF_ADDRESS = 40
FIRST = 30
WAIT_SECONDS = 10.0


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(callers: Callers, echo: Echo) -> AsyncIterator[Server]:
    async with running(callers, PORT_BOUNDS, echo) as server:
        yield server
        echo.release.set()


@asynccontextmanager
async def running(
    callers: Callers,
    bounds: PortBounds,
    echo: Echo | None = None,
    observe: Callable[[int], None] = lambda count: None,
) -> AsyncIterator[Server]:
    server = echo_server(callers.key, echo or Echo(), bounds=bounds, observe_connections=observe)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


async def test_streams_beyond_the_bound_of_a_connection_are_refused(server: Server) -> None:
    def refused() -> int:
        with Http2(server.address) as client:
            frames = client.frames()
            settings = settings_of(next(each for each in frames if each.kind == SETTINGS))
            assert settings[MAX_CONCURRENT_STREAMS] == MAX_STREAMS
            next(each for each in frames if each.kind == SETTINGS)  # ours are acknowledged
            for _ in range(MAX_STREAMS + ABOVE):
                client.open(ECHO)
            resets = (each for each in frames if each.kind == RST_STREAM)
            return [next(resets).payload for _ in range(ABOVE)].count(REFUSED_STREAM.to_bytes(4))

    assert await asyncio.to_thread(refused) == ABOVE


async def test_a_call_that_waits_for_a_stream_keeps_its_deadline(
    server: Server, callers: Callers, echo: Echo
) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        method: Any = channel.unary_unary(ECHO)
        metadata = tuple(callers.metadata.items())
        holding = [method(b"wait", metadata=metadata, timeout=30) for _ in range(MAX_STREAMS)]
        async with asyncio.timeout(10):
            while len(echo.calls) < MAX_STREAMS:
                await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await method(b"hi", metadata=metadata, timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(echo.calls) == MAX_STREAMS
        waiting = method(b"hi", metadata=metadata, timeout=10)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        holding[0].cancel()
        assert await waiting == b"echo hi"


async def test_a_client_at_its_bound_finds_no_call_refused(
    server: Server, callers: Callers
) -> None:
    options = (("grpc.enable_retries", 0),)
    async with grpc.aio.insecure_channel(server.address, options) as channel:
        method: Any = channel.unary_unary(ECHO)
        metadata = tuple(callers.metadata.items())

        async def call_often() -> None:
            for _ in range(5):
                assert await method(b"hi", metadata=metadata, timeout=30) == b"echo hi"

        await asyncio.gather(*(call_often() for _ in range(3 * MAX_STREAMS)))


def connected(server: Server, source: str, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(
        ("127.0.0.1", server.port), WAIT_SECONDS, source_address=(source, 0)
    )
    connection.sendall(sent)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Reads what has arrived."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    return False


async def open_count(connections: list[socket.socket], expected: int) -> int:
    """How many are open: as expected, or after a long wait."""
    for _ in range(500):
        if sum(map(is_open, connections)) <= expected:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return sum(map(is_open, connections))


async def test_the_newest_connections_of_an_address_end_beyond_its_bound(callers: Callers) -> None:
    async with (
        AsyncExitStack() as stack,
        running(callers, PortBounds(max_address_connections=MAX_OF_ADDRESS)) as server,
    ):

        def connect(source: str) -> list[socket.socket]:
            return [stack.enter_context(connected(server, source, PREFACE)) for _ in range(FIRST)]

        others = await asyncio.to_thread(connect, "127.0.0.1")
        first = await asyncio.to_thread(connect, OTHER_ADDRESS)
        await asyncio.sleep(2 * CHECK_SECONDS)  # the server has seen them
        last = await asyncio.to_thread(connect, OTHER_ADDRESS)
        assert await open_count(first + last, MAX_OF_ADDRESS) == MAX_OF_ADDRESS
        assert all(map(is_open, first + others))


async def test_a_newcomer_finds_a_place_beside_those_who_hold_the_most(callers: Callers) -> None:
    bounds = PortBounds(max_connections=MAX_OF_ADDRESS, max_address_connections=FIRST)
    async with AsyncExitStack() as stack, running(callers, bounds) as server:

        def connect(source: str, count: int) -> list[socket.socket]:
            made = [connected(server, source, PREFACE) for _ in range(count)]
            for each in made:
                stack.enter_context(each)
            return made

        few = await asyncio.to_thread(connect, "127.0.0.1", 2)
        crowds = [
            *await asyncio.to_thread(connect, "127.0.0.2", MAX_OF_ADDRESS // 2),
            *await asyncio.to_thread(connect, "127.0.0.3", MAX_OF_ADDRESS // 2),
        ]
        most = MAX_OF_ADDRESS * 7 // 8 - len(few)
        assert most - 1 <= await open_count(crowds, most) <= most
        newcomer = await asyncio.to_thread(connect, "127.0.0.4", 1)
        await asyncio.sleep(2 * CHECK_SECONDS)
        assert all(map(is_open, few + newcomer))


async def test_a_connection_with_a_lane_stays_beside_a_crowd_of_its_address(
    callers: Callers,
) -> None:
    counts: list[int] = []
    bounds = PortBounds(max_connections=2 * MAX_OF_ADDRESS, max_address_connections=FIRST)
    async with AsyncExitStack() as stack, running(callers, bounds, observe=counts.append) as server:

        def connect() -> list[socket.socket]:
            made = [connected(server, "127.0.0.1", PREFACE) for _ in range(FIRST)]
            return [stack.enter_context(each) for each in made]

        crowd = await asyncio.to_thread(connect)
        await asyncio.sleep(2 * CHECK_SECONDS)  # the lane is newer
        transport = callers.transport("lane")
        stack.push_async_callback(transport.close)

        async def call(request: bytes) -> bytes:
            return await transport.call(
                server.address, ECHO, request, callers.metadata, WAIT_SECONDS
            )

        assert await call(b"opens the lane") == b"echo opens the lane"
        calling = asyncio.create_task(call(b"slow"))
        crowd += await asyncio.to_thread(connect)
        assert await open_count(crowd, FIRST) == FIRST
        assert await calling == b"echo slow"
        async with asyncio.timeout(WAIT_SECONDS):
            while counts[-1] != FIRST + 1:  # those that stay, and the lane's
                await asyncio.sleep(CHECK_SECONDS / 10)


@given(
    st.dictionaries(st.text(max_size=2), st.integers(1, 50)), st.integers(1, 20), st.integers(1, 99)
)
def test_a_share_is_the_largest_that_fits(
    counts: dict[str, int], max_each: int, max_together: int
) -> None:
    share = share_of_site(counts, max_each, max_together)

    def together(of_each: int) -> int:
        return sum(min(each, of_each) for each in counts.values())

    assert 1 <= share <= max_each
    assert share == 1 or together(share) <= max_together
    assert share == max_each or together(share + 1) > max_together


async def test_all_clients_together_have_a_bound(callers: Callers) -> None:
    async with AsyncExitStack() as stack, running(callers, PortBounds(max_connections=5)) as server:

        def connect() -> list[socket.socket]:
            sources = (f"127.0.0.{number}" for number in range(1, 10))
            return [stack.enter_context(connected(server, each, PREFACE)) for each in sources]

        assert await open_count(await asyncio.to_thread(connect), 5) == 5


@pytest.mark.parametrize(
    ("sent", "bounds"),
    [
        (b"", PortBounds(handshake_seconds=0.5)),
        (PREFACE[:10], PortBounds(handshake_seconds=0.5)),
        (PREFACE, PortBounds(idle_seconds=0.5)),
    ],
    ids=["nothing", "half a preface", "idle"],
)
async def test_a_connection_that_does_nothing_is_closed(
    callers: Callers, sent: bytes, bounds: PortBounds
) -> None:
    async with running(callers, bounds) as server:
        with await asyncio.to_thread(connected, server, "127.0.0.1", sent) as silent:
            assert await open_count([silent], 0) == 0
