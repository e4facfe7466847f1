"""Connects to a server on this machine from another loopback address."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


@asynccontextmanager
async def relayed(port: int, source: str) -> AsyncIterator[str]:
    """An address whose connections reach 127.0.0.1:`port` as if `source` had made them."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        host, listening_port = server.sockets[0].getsockname()
        yield f"{host}:{listening_port}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
