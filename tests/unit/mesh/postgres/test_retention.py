"""Removals run a bounded number of times, once in a while."""

from collections.abc import Callable
from typing import TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.retention import SECONDS_BETWEEN_ROUNDS, Retention

T = TypeVar("T")
ROWS, TRANSACTIONS = 10, 4


class Rows(Database):
    """Old rows, each in one of two tables."""

    def __init__(self, *left: int) -> None:
        super().__init__("postgresql://nowhere")
        self.left = list(left)
        self.transaction_count = 0

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        self.transaction_count += 1
        return work(None)  # type: ignore[arg-type]

    def removal(self, table: int) -> Callable[[Cursor, int], int]:
        def remove(_cursor: Cursor, max_count: int) -> int:
            removed_count = min(max_count, self.left[table])
            self.left[table] -= removed_count
            return removed_count

        return remove


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def retention_over(rows: Rows, clock: Clock) -> Retention:
    return Retention(
        rows,
        [rows.removal(0), rows.removal(1)],
        clock=clock,
        rows_a_transaction=ROWS,
        transactions_a_round=TRANSACTIONS,
    )


async def test_a_round_removes_a_bounded_number_of_rows_of_each_kind() -> None:
    rows, clock = Rows(1000, 25), Clock()
    retention = retention_over(rows, clock)
    await retention.run_once()
    assert rows.left == [1000 - ROWS * TRANSACTIONS, 0]
    assert rows.transaction_count == TRANSACTIONS + 3


async def test_rounds_have_pauses_between_them() -> None:
    rows, clock = Rows(1000, 0), Clock()
    retention = retention_over(rows, clock)
    await retention.run_once()
    clock.now += SECONDS_BETWEEN_ROUNDS - 1
    await retention.run_once()
    assert rows.left[0] == 1000 - ROWS * TRANSACTIONS
    clock.now += 1
    await retention.run_once()
    assert rows.left[0] == 1000 - 2 * ROWS * TRANSACTIONS
