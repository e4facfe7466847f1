"""The SQLite file of the book.

While its disk is full, what would write raises BookUnavailable and changes nothing; the book is
usable again as soon as there is room.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from payment_sandbox.domain import BookUnavailable
from payment_sandbox.storage.shared_file import SharedFile

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
        self._file = SharedFile(path, SCHEMA)
        self._connection = self._file.connection
        self._is_in_doubt = False

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, once it is on disk; nothing is changed when it raises. Raises
        BookUnavailable when the file cannot be read or written."""
        try:
            return await self._file.transaction(lambda: work(self._connection))
        except sqlite3.OperationalError as error:
            self._is_in_doubt = True
            raise BookUnavailable(str(error)) from error

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
        self._file.close()
