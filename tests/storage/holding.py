"""Keeps a transaction open while a test runs others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from greenlet import getcurrent
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.fibers import Fiber

T = TypeVar("T")


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


class SlowReplies(Database):
    """Another database. Its transactions commit at once; those that return a list with anything in
    it return it only after `release`."""

    def __init__(self, database: Database) -> None:
        super().__init__("postgresql://nowhere")
        self._database = database
        self.committed = asyncio.Event()
        self.release = asyncio.Event()

    async def transaction(
        self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
    ) -> T:
        result = await self._database.transaction(work, lock_timeout_ms=lock_timeout_ms)
        if isinstance(result, list) and any(result):
            self.committed.set()
            await self.release.wait()
        return result

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        return await self._database.autocommit(work)

    async def cancel_after_commit(self, call: "asyncio.Task[Any]") -> None:
        """Cancels the call between a commit and its reply."""
        async with asyncio.timeout(10):
            await self.committed.wait()
        call.cancel()
        await asyncio.wait({call})
        self.release.set()
