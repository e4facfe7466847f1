"""The book: charges with their reversals, and undelivered webhooks. Every method is one
transaction of the file (`payment_sandbox.storage.file`)."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from payment_sandbox.domain import Charge, Order
from payment_sandbox.reversal import Reversal, ReversalKind, ReversalStatus
from payment_sandbox.storage.file import BookFile

T = TypeVar("T")
CHARGE_COLUMNS = """
    number, charge_id, key, amount_minor, currency, payment_method, customer, decline_code,
    created_at, settles_at FROM charge
"""
REVERSAL_COLUMNS = """
    number, reversal_id, kind, key, charge_id, amount_minor, status, created_at FROM reversal
"""


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


@dataclass(frozen=True, slots=True)
class Page:
    """The numbers above `after`, made in [since, until) in Unix seconds, at most `limit`."""

    after: int
    limit: int
    since: float = 0.0
    until: float = float("inf")


Webhooks = Callable[[Charge], Iterable[NewDelivery]]
"""The webhooks of a change, made from the charge as it is after that."""
Reverse = Callable[[Charge | None, Reversal | None], Reversal | None]
"""Makes a reversal from the charge and from the stored reversal of the key, both as they are in the
transaction that adds it. Returns None when there is nothing to add, and raises an error when the
charge must not be reversed like that."""


class Book:
    """Survives a kill of its process. For one process at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises sqlite3.Error."""
        self._file = BookFile(path)
        self.check = self._file.check
        self.close = self._file.close
        self.deliveries_added = asyncio.Event()
        """Set whenever a delivery may have been added. Whoever waits for it clears it first."""

    async def add_charge(self, charge: Charge, webhooks: Webhooks) -> tuple[Charge, bool]:
        """Adds the charge with the webhooks from `webhooks`, unless its key is stored. Returns
        the key's charge, and whether it was added now. The book assigns the number."""

        def work(connection: sqlite3.Connection) -> tuple[Charge, bool]:
            found = _charges(connection, "WHERE key = ?", (charge.key,))
            if found:
                return found[0], False
            order = charge.order
            connection.execute(
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
            added = _stored(connection, charge.key)
            _add_deliveries(connection, webhooks(added))
            return added, True

        return await self._add(work)

    async def add_reversal(
        self, name: str, kind: ReversalKind, key: str, reverse: Reverse, webhooks: Webhooks
    ) -> Charge:
        """Adds the reversal that `reverse` makes for the charge with that id or key. Returns the
        charge with it. The kind's key has one reversal, however many add it at a time."""

        def work(connection: sqlite3.Connection) -> Charge:
            made = _reversals(connection, "WHERE kind = ? AND key = ?", (kind, key))
            new = reverse(_find(connection, name), made[0] if made else None)
            if new is not None:
                connection.execute(
                    "INSERT INTO reversal"
                    " (reversal_id, kind, key, charge_id, amount_minor, status, created_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        new.reversal_id,
                        new.kind,
                        new.key,
                        new.charge_id,
                        new.amount_minor,
                        new.status,
                        new.created_at,
                    ),
                )
            charge = _stored(connection, name)
            if new is not None:
                _add_deliveries(connection, webhooks(charge))
            return charge

        return await self._add(work)

    async def move_reversal(
        self,
        reversal_id: str,
        move: Callable[[Reversal | None], ReversalStatus | None],
        webhooks: Webhooks,
    ) -> Charge:
        """Sets the status that `move` returns for the stored reversal; None keeps it. Returns its
        charge."""

        def work(connection: sqlite3.Connection) -> Charge:
            found = _reversals(connection, "WHERE reversal_id = ?", (reversal_id,))
            status = move(found[0] if found else None)
            assert found, "the move refuses an unknown reversal"
            connection.execute(
                "UPDATE reversal SET status = ? WHERE reversal_id = ?",
                (status or found[0].status, reversal_id),
            )
            charge = _stored(connection, found[0].charge_id)
            if status is not None:
                _add_deliveries(connection, webhooks(charge))
            return charge

        return await self._add(work)

    async def find_charge(self, name: str) -> Charge | None:
        """The charge with that id or idempotency key."""
        return await self._file.transaction(lambda connection: _find(connection, name))

    async def list_charges(self, page: Page) -> list[Charge]:
        """The charges of the page, in order."""

        return await self._file.transaction(
            lambda connection: _charges(
                connection,
                "WHERE number > ? AND created_at >= ? AND created_at < ? ORDER BY number LIMIT ?",
                (page.after, page.since, page.until, page.limit),
            )
        )

    async def list_reversals(
        self, kind: ReversalKind, page: Page, charge_id: str | None
    ) -> list[Reversal]:
        """The reversals of that kind in the page, in order, of one charge or of all."""
        return await self._file.transaction(
            lambda connection: _reversals(
                connection,
                "WHERE kind = ?1 AND number > ?2 AND created_at >= ?3 AND created_at < ?4"
                " AND (?5 IS NULL OR charge_id = ?5) ORDER BY number LIMIT ?6",
                (kind, page.after, page.since, page.until, charge_id, page.limit),
            )
        )

    async def due_deliveries(self, now: float, limit: int) -> list[Delivery]:
        """The due deliveries, the most overdue first."""

        def work(connection: sqlite3.Connection) -> list[Delivery]:
            rows = connection.execute(
                "SELECT number, body, attempt_count FROM delivery WHERE due_at <= ?"
                " ORDER BY due_at, number LIMIT ?",
                (now, limit),
            )
            return [Delivery(*row) for row in rows]

        return await self._file.transaction(work)

    async def next_due_at(self) -> float | None:
        """When the next delivery is due, in Unix seconds; None if there is none."""

        def work(connection: sqlite3.Connection) -> float | None:
            row = connection.execute("SELECT min(due_at) FROM delivery").fetchone()
            return None if row[0] is None else float(row[0])

        return await self._file.transaction(work)

    async def settle_deliveries(
        self, done: Sequence[int], postponed: Sequence[tuple[int, float]]
    ) -> None:
        """Deletes the finished deliveries, by number. Counts one more failure for the others,
        which are due again at the given time."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM delivery WHERE number = ?", [(number,) for number in done]
            )
            connection.executemany(
                "UPDATE delivery SET attempt_count = attempt_count + 1, due_at = ?"
                " WHERE number = ?",
                [(due_at, number) for number, due_at in postponed],
            )

        await self._file.transaction(work)

    async def _add(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a transaction that may add deliveries. Its outcome is unknown after an error, so
        they count as added then too."""
        try:
            return await self._file.transaction(work)
        finally:
            self.deliveries_added.set()


def _find(connection: sqlite3.Connection, name: str) -> Charge | None:
    """The charge with that id or key."""
    found = _charges(connection, "WHERE key = ?1 OR charge_id = ?1", (name,))
    return found[0] if found else None


def _stored(connection: sqlite3.Connection, name: str) -> Charge:
    charge = _find(connection, name)
    assert charge is not None, "a charge is never removed"
    return charge


def _charges(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Charge]:
    """`where` is from this module, never input."""
    rows = connection.execute(f"SELECT {CHARGE_COLUMNS} {where}", tuple(values)).fetchall()
    charges = []
    for number, charge_id, key, *facts, decline_code, created_at, settles_at in rows:
        order = Order(*facts)
        reversals = _reversals(connection, "WHERE charge_id = ? ORDER BY number", (charge_id,))
        times = (created_at, settles_at)
        charges.append(
            Charge(number, charge_id, key, order, decline_code, *times, tuple(reversals))
        )
    return charges


def _reversals(
    connection: sqlite3.Connection, where: str, values: Sequence[object]
) -> list[Reversal]:
    """`where` is from this module, never input."""
    rows = connection.execute(f"SELECT {REVERSAL_COLUMNS} {where}", tuple(values))
    return [
        Reversal(number, reversal_id, ReversalKind(kind), key, charge, amount,
                 ReversalStatus(status), created_at)
        for number, reversal_id, kind, key, charge, amount, status, created_at in rows
    ]  # fmt: skip


def _add_deliveries(connection: sqlite3.Connection, deliveries: Iterable[NewDelivery]) -> None:
    connection.executemany(
        "INSERT INTO delivery (body, due_at) VALUES (?, ?)",
        [(delivery.body, delivery.due_at) for delivery in deliveries],
    )
