"""Keeps a transaction open while a test runs others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from greenlet import getcurrent
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.fibers import Fiber


@asynccontextmanager
async def held(database: Database, work: Callable[[Cursor], object]) -> AsyncIterator[None]:
    """Within the context, `work` is done but not committed."""
    mine, theirs = socket.socketpair()
    done = asyncio.Event()

    def do_and_wait(cursor: Cursor) -> None:
        work(cursor)
        done.set()
        fiber = getcurrent()
        assert isinstance(fiber, Fiber)
        fiber.wait_for(theirs.fileno(), to_write=False)

    with mine, theirs:
        holding = asyncio.create_task(database.transaction(do_and_wait))
        try:
            async with asyncio.timeout(10):
                await done.wait()
            yield
        finally:
            mine.send(b"!")
            await holding
