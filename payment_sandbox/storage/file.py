"""The SQLite file of the book.

A change is on disk before its transaction returns, so that it survives a kill of the sandbox. One
thread owns the connection; the number of requests in flight bounds its queue.

While its disk is full, what would write raises BookUnavailable and changes nothing; the book is
usable again as soon as there is room.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from payment_sandbox.domain import BookUnavailable

SCHEMA = """
CREATE TABLE IF NOT EXISTS charge (
    number         INTEGER PRIMARY KEY,
    charge_id      TEXT NOT NULL UNIQUE,
    key            TEXT NOT NULL UNIQUE,
    amount_minor   INTEGER NOT NULL CHECK (amount_minor > 0),
    currency       TEXT NOT NULL,
    payment_method TEXT NOT NULL,
    customer       TEXT NOT NULL,
    decline_code   TEXT NOT NULL,
    created_at     REAL NOT NULL,
    settles_at     REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS charge_created_at ON charge (created_at);
CREATE TABLE IF NOT EXISTS reversal (
    number       INTEGER PRIMARY KEY,
    reversal_id  TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    key          TEXT NOT NULL,
    charge_id    TEXT NOT NULL REFERENCES charge (charge_id),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    status       TEXT NOT NULL,
    created_at   REAL NOT NULL,
    UNIQUE (kind, key)
) STRICT;
CREATE INDEX IF NOT EXISTS reversal_charge_id ON reversal (charge_id);
CREATE TABLE IF NOT EXISTS delivery (
    number        INTEGER PRIMARY KEY,
    body          BLOB NOT NULL,
    due_at        REAL NOT NULL,
    attempt_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_due_at ON delivery (due_at);
-- One row, which a check replaces to see whether the book can be written.
CREATE TABLE IF NOT EXISTS probe (number INTEGER PRIMARY KEY) STRICT;
"""
T = TypeVar("T")


class BookFile:
    """For one process at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises sqlite3.Error."""
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(SCHEMA)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="book")
        self._is_in_doubt = False

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in a transaction, which is rolled back when it raises. Raises
        BookUnavailable when the file cannot be read or written."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def check(self) -> None:
        """Raises BookUnavailable unless the file can be read and written. Writes only after a
        failure."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT number FROM charge LIMIT 1")
            if self._is_in_doubt:
                connection.execute("REPLACE INTO probe (number) VALUES (1)")

        await self.transaction(work)
        self._is_in_doubt = False

    def close(self) -> None:
        """Returns when the running work has ended."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answer = work(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._is_in_doubt = True
            raise BookUnavailable(str(error)) from error
        finally:
            # SQLite has rolled back by itself after some errors, such as a full disk.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return answer
