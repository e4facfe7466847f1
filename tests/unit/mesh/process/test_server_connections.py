"""What one connection to a gRPC port may hold."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh.process.server import MAX_CONNECTION_STREAMS, Server
from tests.http2 import (
    MAX_CONCURRENT_STREAMS,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    Http2,
    settings_of,
)
from tests.unit.mesh.echo import ECHO, Callers, Echo, echo_server

ABOVE = 20


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(callers: Callers, echo: Echo) -> AsyncIterator[Server]:
    server = echo_server(callers.key, echo)
    await server.start()
    yield server
    echo.release.set()
    await server.stop(0)


async def test_streams_beyond_the_bound_of_a_connection_are_refused(server: Server) -> None:
    def refused() -> int:
        with Http2(server.address) as client:
            frames = client.frames()
            settings = settings_of(next(each for each in frames if each.kind == SETTINGS))
            assert settings[MAX_CONCURRENT_STREAMS] == MAX_CONNECTION_STREAMS
            next(each for each in frames if each.kind == SETTINGS)  # ours are acknowledged
            for _ in range(MAX_CONNECTION_STREAMS + ABOVE):
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
        holding = [
            method(b"wait", metadata=metadata, timeout=30) for _ in range(MAX_CONNECTION_STREAMS)
        ]
        async with asyncio.timeout(10):
            while len(echo.calls) < MAX_CONNECTION_STREAMS:
                await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await method(b"hi", metadata=metadata, timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(echo.calls) == MAX_CONNECTION_STREAMS
        waiting = method(b"hi", metadata=metadata, timeout=10)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        holding[0].cancel()
        assert await waiting == b"echo hi"
