"""Requests that do not arrive and answers that nobody reads: their number and time are bounded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from mesh.process import health
from mesh.process.server import Server
from mesh.serving.callers import CallerBounds
from mesh.serving.port_bounds import PortBounds
from mesh.serving.transfers import TransferBounds
from tests.http2 import HEADERS, INITIAL_WINDOW_SIZE, Http2
from tests.relay import relayed
from tests.unit.mesh.echo import ECHO, STREAM, Callers, Echo, echo_server

CHECK = f"/{health.SERVICE}/Check"
WATCH = f"/{health.SERVICE}/Watch"
REQUEST = health_pb2.HealthCheckRequest().SerializeToString()
SERVING = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
BOUNDS = CallerBounds(members=2, strangers=6, address=4)
SECONDS = 1.0
OTHER_ADDRESS = "127.0.0.2"


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
async def server(callers: Callers) -> AsyncIterator[Server]:
    transfers = TransferBounds(BOUNDS, request_seconds=SECONDS, answer_seconds=SECONDS)
    server = echo_server(callers.key, Echo(), bounds=PortBounds(transfers=transfers))
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


@pytest.mark.parametrize("path", [ECHO, STREAM, CHECK, WATCH])
async def test_unfinished_requests_of_one_address_leave_places_to_others(
    server: Server, callers: Callers, path: str
) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        calls = await unfinished(channel, path, BOUNDS.address)
        await refused_in_time(channel, is_refused=True)
        refused = await refusal(channel)
        assert refused is not None
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "callers of this address" in (refused.details() or "")
        member = tuple(callers.metadata.items())
        assert await refusal(channel, member) is None
        async with (
            relayed(server.port, OTHER_ADDRESS) as other_address,
            grpc.aio.insecure_channel(other_address) as other,
        ):
            assert await refusal(other) is None
        for call in calls:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await refused_in_time(channel, is_refused=False)


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
    server: Server,
) -> None:
    reading = await asyncio.to_thread(Http2, server.address)
    lazy = await asyncio.to_thread(Http2, server.address, {INITIAL_WINDOW_SIZE: 0})
    with reading, lazy:
        for _ in range(BOUNDS.address):
            lazy.send(lazy.open(CHECK), REQUEST)
        async with grpc.aio.insecure_channel(server.address) as channel:
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
            await refused_in_time(channel, is_refused=True)
