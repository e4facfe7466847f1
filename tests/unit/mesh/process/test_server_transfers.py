"""Requests that do not arrive and answers that nobody reads: their number and time are bounded."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from mesh.lanes.limits import MAX_CALLS_BYTES
from mesh.process import health
from mesh.process.server import Server
from mesh.serving.callers import CallerBounds
from mesh.serving.port_bounds import PORT_BOUNDS, PortBounds
from mesh.serving.transfers import TRANSFER_BOUNDS, TransferBounds
from tests.http2 import (
    END_STREAM,
    FIRST_WINDOW_BYTES,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    settings_of,
)
from tests.relay import relayed
from tests.unit.mesh.echo import ECHO, STREAM, Callers, Echo, echo_server

CHECK = f"/{health.SERVICE}/Check"
WATCH = f"/{health.SERVICE}/Watch"
REQUEST = health_pb2.HealthCheckRequest().SerializeToString()
SERVING = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
BOUNDS = CallerBounds(members=2, strangers=6, address=4)
SECONDS = 1.0
UNREAD_SECONDS = 4.0
"""After which unread answers end, where a test must see them before: more than a busy machine
takes to see them."""
OTHER_ADDRESS = "127.0.0.2"
THIRD_ADDRESS = "127.0.0.3"
STRANGERS_BYTES = 256 * 1024 * 1024
"""What the requests of all strangers may take while they arrive."""


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
async def server(callers: Callers) -> AsyncIterator[Server]:
    transfers = TransferBounds(BOUNDS, request_seconds=SECONDS, answer_seconds=SECONDS)
    async with running(callers, PortBounds(transfers=transfers, health=transfers)) as server:
        yield server


@asynccontextmanager
async def running(callers: Callers, bounds: PortBounds) -> AsyncIterator[Server]:
    server = echo_server(callers.key, Echo(), bounds=bounds)
    await server.start()
    yield server
    await server.stop(0)


async def unfinished(channel: grpc.aio.Channel, path: str, count: int) -> list[Any]:
    """Calls that have sent their head alone."""
    method: Any = channel.stream_unary(path)
    calls = [method() for _ in range(count)]
    await asyncio.gather(*(call.wait_for_connection() for call in calls))
    return calls


async def refusal(channel: grpc.aio.Channel, metadata: Any = ()) -> grpc.aio.AioRpcError | None:
    """The error of a call to Check, which is open to all; None if it is answered."""
    method: Any = channel.unary_unary(CHECK)
    try:
        assert await method(REQUEST, metadata=metadata, timeout=5) == SERVING
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def refused_in_time(channel: grpc.aio.Channel, *, is_refused: bool) -> None:
    async with asyncio.timeout(10):
        while (await refusal(channel) is not None) is not is_refused:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_the_oldest_unfinished_request_of_an_address_makes_room(
    server: Server, path: str
) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        calls = [(await unfinished(channel, path, 1))[0] for _ in range(BOUNDS.address)]
        assert await refusal(channel) is None
        assert await calls[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "callers of this address" in await calls[0].details()
        for call in calls[1:]:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_address_that_holds_the_most_makes_room_for_others(server: Server) -> None:
    async with AsyncExitStack() as stack:

        async def channel_from(source: str) -> grpc.aio.Channel:
            address = await stack.enter_async_context(relayed(server.port, source))
            return await stack.enter_async_context(grpc.aio.insecure_channel(address))

        few = await unfinished(await channel_from(OTHER_ADDRESS), CHECK, 2)
        many = await unfinished(await channel_from("127.0.0.1"), CHECK, BOUNDS.address)
        newcomer = await channel_from(THIRD_ADDRESS)
        assert await refusal(newcomer) is None
        codes = Counter([await call.code() for call in many])
        assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 1
        for call in few:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("path", [ECHO, STREAM])
async def test_unfinished_calls_of_others_take_no_place_of_a_member_or_of_health(
    server: Server, callers: Callers, path: str
) -> None:
    member = tuple(callers.metadata.items())
    async with grpc.aio.insecure_channel(server.address) as channel:
        calls = await unfinished(channel, path, BOUNDS.address)
        assert await refusal(channel) is None
        method: Any = channel.unary_unary(ECHO)
        assert await method(b"hi", metadata=member, timeout=5) == b"echo hi"
        for call in calls:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_message_that_claims_more_than_a_request_may_have_is_refused(
    callers: Callers,
) -> None:
    def is_refused(address: str) -> bool:
        """Before the time for a request is over."""
        with Http2(address, timeout_seconds=TRANSFER_BOUNDS.request_seconds / 2) as client:
            client.begin(client.open(CHECK), MAX_CALLS_BYTES + 1)
            ends = (each for each in client.frames() if each.kind == HEADERS)
            return bool(next(ends).flags & END_STREAM)

    async with running(callers, PORT_BOUNDS) as server:
        assert await asyncio.to_thread(is_refused, server.address)


async def test_what_is_sent_after_a_request_is_bounded_in_bytes(server: Server) -> None:
    def windows() -> tuple[int, int]:
        """How many bytes the stream and the connection may send, once the watch is answered."""
        stream_bytes = connection_bytes = FIRST_WINDOW_BYTES
        with Http2(server.address, timeout_seconds=SECONDS) as client, suppress(TimeoutError):
            client.send(client.open(WATCH), REQUEST)
            for frame in client.frames():
                if frame.kind == SETTINGS:
                    stream_bytes = settings_of(frame).get(INITIAL_WINDOW_SIZE, stream_bytes)
                elif frame.kind == WINDOW_UPDATE and frame.stream == 0:
                    connection_bytes += int.from_bytes(frame.payload)
        return stream_bytes, connection_bytes

    for window_bytes in await asyncio.to_thread(windows):
        assert window_bytes < 2 * FIRST_WINDOW_BYTES


def test_what_strangers_may_send_at_a_time_is_bounded_in_bytes() -> None:
    places = sum(each.places.strangers for each in (PORT_BOUNDS.transfers, PORT_BOUNDS.health))
    assert places * MAX_CALLS_BYTES <= STRANGERS_BYTES


async def test_a_call_without_a_message_is_malformed(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.stream_unary(CHECK)()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        malformed: Any = channel.unary_unary(CHECK)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await malformed(b"\xff\xff")
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_answers_that_are_not_read_take_places_and_end_with_their_connection(
    callers: Callers,
) -> None:
    transfers = TransferBounds(BOUNDS, answer_seconds=UNREAD_SECONDS, ripe_seconds=UNREAD_SECONDS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(callers, PortBounds(health=transfers)))
        reading = stack.enter_context(await asyncio.to_thread(Http2, server.address))
        lazy = stack.enter_context(
            await asyncio.to_thread(Http2, server.address, {INITIAL_WINDOW_SIZE: 0})
        )
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await refusal(channel) is None  # it is connected before the places are taken
            for _ in range(BOUNDS.address):
                lazy.send(lazy.open(CHECK), REQUEST)
            await refused_in_time(channel, is_refused=True)
            kinds = await asyncio.to_thread(lambda: [each.kind for each in lazy.frames()])
            assert kinds.count(HEADERS) == BOUNDS.address  # and no answer, then the end
            await refused_in_time(channel, is_refused=False)
        reading.send(reading.open(CHECK), REQUEST)
        answers = (each for each in reading.frames() if each.kind == HEADERS)
        assert await asyncio.to_thread(next, answers)


async def test_a_large_answer_takes_more_places(server: Server, callers: Callers) -> None:
    lazy = await asyncio.to_thread(Http2, server.address, {INITIAL_WINDOW_SIZE: 0})
    with lazy:
        size_bytes = BOUNDS.address * 65_536
        lazy.send(lazy.open(ECHO, callers.metadata), b"large %d" % size_bytes)
        async with grpc.aio.insecure_channel(server.address) as channel:
            async with asyncio.timeout(10):
                while await code_of_echo(channel) is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    await asyncio.sleep(0.01)
            assert await refusal(channel) is None


async def code_of_echo(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """The code of a stranger's call; UNAUTHENTICATED if it finds a place."""
    method: Any = channel.unary_unary(ECHO)
    code: grpc.StatusCode = await method(b"", timeout=5).code()
    return code


async def test_an_answer_that_was_not_read_for_a_while_makes_room(callers: Callers) -> None:
    transfers = TransferBounds(BOUNDS, answer_seconds=60, ripe_seconds=UNREAD_SECONDS)
    async with running(callers, PortBounds(health=transfers)) as server:
        lazy = await asyncio.to_thread(Http2, server.address, {INITIAL_WINDOW_SIZE: 0})
        with lazy:
            async with grpc.aio.insecure_channel(server.address) as channel:
                assert await refusal(channel) is None
                for _ in range(BOUNDS.address):
                    lazy.send(lazy.open(CHECK), REQUEST)
                await refused_in_time(channel, is_refused=True)
                await refused_in_time(channel, is_refused=False)
            kinds = await asyncio.to_thread(lambda: [each.kind for each in lazy.frames()])
            assert kinds.count(HEADERS) == BOUNDS.address  # and then the end of the connection
