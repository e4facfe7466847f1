"""The book: charges, refunds and undelivered webhooks, in one SQLite file.

A change is on disk before its answer is sent, so that it survives a kill of the sandbox. Every
method is one atomic change or one read.

While its disk is full, what would write raises BookUnavailable and changes nothing; the book is
usable again as soon as there is room.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from payment_sandbox.domain import BookUnavailable, Charge, Order, Refund
from payment_sandbox.shared_file import SharedFile

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
CREATE TABLE IF NOT EXISTS refund (
    refund_id  TEXT PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    charge_id  TEXT NOT NULL UNIQUE REFERENCES charge (charge_id),
    created_at REAL NOT NULL
) STRICT;
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
CHARGE_COLUMNS = """
    number, charge.charge_id, charge.key, amount_minor, currency, payment_method, customer,
    decline_code, charge.created_at, settles_at, refund_id, refund.key, refund.created_at
    FROM charge LEFT JOIN refund USING (charge_id)
"""
T = TypeVar("T")
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A body to send to the webhooks' URL."""

    body: bytes
    due_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that is due, after `attempt_count` failed attempts."""

    number: int
    body: bytes
    attempt_count: int


class Book:
    """Survives a kill of its process. For one process at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises sqlite3.Error."""
        self._file = SharedFile(path, SCHEMA)
        self._connection = self._file.connection
        self._is_in_doubt = False

    async def add_charge(
        self, charge: Charge, webhooks: Callable[[Charge], Iterable[NewDelivery]]
    ) -> tuple[Charge, bool]:
        """Adds the charge with the webhooks from `webhooks`, unless its key is stored. Returns
        the key's charge, and whether it was added now. The book assigns the number."""

        def work() -> tuple[Charge, bool]:
            found = self._find("charge.key", charge.key)
            if found is not None:
                return found, False
            order = charge.order
            self._connection.execute(
                "INSERT INTO charge (charge_id, key, amount_minor, currency, payment_method,"
                " customer, decline_code, created_at, settles_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    charge.charge_id,
                    charge.key,
                    order.amount_minor,
                    order.currency,
                    order.payment_method,
                    order.customer,
                    charge.decline_code,
                    charge.created_at,
                    charge.settles_at,
                ),
            )
            added = self._find("charge.key", charge.key)
            assert added is not None, "the charge was just added"
            self._add_deliveries(webhooks(added))
            return added, True

        return await self._transaction(work)

    async def add_refund(
        self,
        charge_id: str,
        refund: Refund,
        check: Callable[[Charge | None], None],
        webhooks: Callable[[Charge], Iterable[NewDelivery]],
    ) -> Charge:
        """Adds the refund unless the charge has one. Returns the charge with its refund.

        `check` receives the stored charge, and raises an error if it must not be refunded.
        """

        def work() -> Charge:
            found = self._find("charge.charge_id", charge_id)
            check(found)
            assert found is not None, "the check refuses an unknown charge"
            if found.refund is not None:
                return found
            self._connection.execute(
                "INSERT INTO refund (refund_id, key, charge_id, created_at) VALUES (?, ?, ?, ?)",
                (refund.refund_id, refund.key, charge_id, refund.created_at),
            )
            refunded = self._find("charge.charge_id", charge_id)
            assert refunded is not None, "a charge is never removed"
            self._add_deliveries(webhooks(refunded))
            return refunded

        return await self._transaction(work)

    async def find_charge(self, key: str) -> Charge | None:
        """The charge with that idempotency key."""
        return await self._transaction(lambda: self._find("charge.key", key))

    async def find_refunded_with(self, key: str) -> Charge | None:
        """The charge whose refund has that key."""
        return await self._transaction(lambda: self._find("refund.key", key))

    async def list_charges(self, after: int, limit: int) -> list[Charge]:
        """The charges with numbers above `after`, in order."""

        def work() -> list[Charge]:
            rows = self._connection.execute(
                f"SELECT {CHARGE_COLUMNS} WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            )
            return [_charge(row) for row in rows]

        return await self._transaction(work)

    async def due_deliveries(self, now: float, limit: int) -> list[Delivery]:
        """The due deliveries, the most overdue first."""

        def work() -> list[Delivery]:
            rows = self._connection.execute(
                "SELECT number, body, attempt_count FROM delivery WHERE due_at <= ?"
                " ORDER BY due_at, number LIMIT ?",
                (now, limit),
            )
            return [Delivery(*row) for row in rows]

        return await self._transaction(work)

    async def settle_deliveries(
        self, done: Sequence[int], postponed: Sequence[tuple[int, float]]
    ) -> None:
        """Deletes the finished deliveries, by number. Counts one more failure for the others,
        which are due again at the given time."""

        def work() -> None:
            self._connection.executemany(
                "DELETE FROM delivery WHERE number = ?", [(number,) for number in done]
            )
            self._connection.executemany(
                "UPDATE delivery SET attempt_count = attempt_count + 1, due_at = ?"
                " WHERE number = ?",
                [(due_at, number) for number, due_at in postponed],
            )

        await self._transaction(work)

    async def check(self) -> None:
        """Raises BookUnavailable unless the book can be read and written. Writes only after a
        failure."""

        def work() -> None:
            self._connection.execute("SELECT number FROM charge LIMIT 1")
            if self._is_in_doubt:
                self._connection.execute("REPLACE INTO probe (number) VALUES (1)")

        await self._transaction(work)
        self._is_in_doubt = False

    def close(self) -> None:
        """Returns when the running work has ended."""
        self._file.close()

    async def _transaction(self, work: Callable[[], T]) -> T:
        """Raises BookUnavailable when the file cannot be read or written."""
        try:
            return await self._file.transaction(work)
        except sqlite3.OperationalError as error:
            self._is_in_doubt = True
            raise BookUnavailable(str(error)) from error

    def _find(self, column: str, value: str) -> Charge | None:
        """`column` is a name from this module, never input."""
        row = self._connection.execute(
            f"SELECT {CHARGE_COLUMNS} WHERE {column} = ?",
            (value,),
        ).fetchone()
        return None if row is None else _charge(row)

    def _add_deliveries(self, deliveries: Iterable[NewDelivery]) -> None:
        self._connection.executemany(
            "INSERT INTO delivery (body, due_at) VALUES (?, ?)",
            [(delivery.body, delivery.due_at) for delivery in deliveries],
        )


def _charge(row: tuple) -> Charge:  # type: ignore[type-arg]
    number, charge_id, key, amount, currency, method, customer, decline, created, settles = row[:10]
    refund = None if row[10] is None else Refund(*row[10:13])
    order = Order(amount, currency, method, customer)
    return Charge(number, charge_id, key, order, decline, created, settles, refund)
