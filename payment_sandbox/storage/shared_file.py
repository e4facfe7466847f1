"""One SQLite file for the concurrent callers of one process.

Guarantees:
- A change is on disk before its caller gets the result.
- One transaction is under way at a time. Work that arrives meanwhile shares the next one, and
  so its flush. Work that fails is undone alone.

One thread owns the connection; the number of requests in flight bounds its queue.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_Waiting = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class SharedFile:
    """For one process at a time. Use it in one event loop only."""

    def __init__(self, path: Path, schema: str) -> None:
        """Opens or creates the file. Raises sqlite3.Error."""
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        """Only for work that runs in `transaction`."""
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.executescript(schema)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shared-file")
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def transaction(self, work: Callable[[], T]) -> T:
        """The result of `work`, once it is on disk. Raises what `work` raises, and
        sqlite3.Error; nothing was changed then."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, result))
        if self._writing is None:
            self._writing = asyncio.create_task(self._keep_writing(), name="shared-file")
        return await result

    def close(self) -> None:
        """Returns when the running work has ended."""
        self._thread.shutdown(wait=True)
        self.connection.close()

    async def _keep_writing(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write(batch)
        finally:
            self._writing = None

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Any]
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._transact, [work for work, _ in batch]
            )
        except Exception as error:  # noqa: BLE001 (every caller gets it)
            outcomes = [error] * len(batch)
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if result.done():
                continue
            if isinstance(outcome, Exception):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

    def _transact(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """The result or the error of each."""
        execute = self.connection.execute
        outcomes: list[Any] = []
        execute("BEGIN IMMEDIATE")
        try:
            for work in works:
                execute("SAVEPOINT work")
                try:
                    outcomes.append(work())
                except Exception as error:
                    if not self.connection.in_transaction:
                        raise  # SQLite has rolled back everything, as after a full disk.
                    execute("ROLLBACK TO work")
                    outcomes.append(error)
                execute("RELEASE work")
            execute("COMMIT")
        finally:
            # Nothing is left to roll back after a commit, or where SQLite has done it.
            if self.connection.in_transaction:
                execute("ROLLBACK")
        return outcomes
