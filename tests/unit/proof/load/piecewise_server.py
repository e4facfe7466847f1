"""A server that sends its answers in given pieces."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


@asynccontextmanager
async def piecewise_server(*connections: Sequence[Sequence[bytes]]) -> AsyncIterator[int]:
    """Yields the port of a server. It answers the requests of each connection in turn, each answer
    in its pieces, and then closes the connection. Further connections are closed at once.

    Bytes that arrive together are one request. It ends when every connection has been closed.
    """
    waiting = list(connections)
    under_way: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        try:
            for pieces in waiting.pop(0) if waiting else []:
                if not await reader.read(4096):
                    break
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)  # so that the next piece arrives separately
        except ConnectionError:
            pass  # the client disconnected first
        finally:
            writer.close()
            under_way.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(5):
            while under_way:
                await asyncio.sleep(0.01)
