"""Shared transactions on a real PostgreSQL: who arrives together commits together, and what
fails fails alone, and holds up nobody."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar

import psycopg2.errors
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted
from mesh.postgres.database import Database, LockTimeout
from mesh.postgres.shared_transactions import ALONE_SECONDS, SharedTransactions
from tests.storage.holding import held

REFUSED, POISONOUS = 13, 0
TABLE = "CREATE TABLE kept (number int PRIMARY KEY, x int)"


def invert(cursor: Cursor, numbers: Sequence[int]) -> list[int | MeshError]:
    """The number of its transaction for each number; refuses one, and divides by the others."""
    taken = [number for number in numbers if number != REFUSED]
    cursor.execute(
        "INSERT INTO kept SELECT number, 1 / number FROM unnest(%s::int[]) AS arrived (number)",
        (taken,),
    )
    cursor.execute("SELECT pg_current_xact_id()::text::int")
    ((xid,),) = cursor.fetchall()
    return [xid if number in taken else FailedPrecondition("unlucky") for number in numbers]


def insert(cursor: Cursor, numbers: Sequence[int]) -> list[bool]:
    """Whether each number was new. Waits for transactions that insert the same numbers."""
    cursor.execute(
        "INSERT INTO kept SELECT unnest(%s::int[]), 0 ON CONFLICT DO NOTHING RETURNING number",
        (sorted(numbers),),
    )
    new = {number for (number,) in cursor.fetchall()}
    return [number in new for number in numbers]


@pytest.fixture
async def transactions(database: Database) -> SharedTransactions[int, int]:
    await database.autocommit(lambda cursor: cursor.execute(TABLE))
    return SharedTransactions(database, invert, max_batch=8)


async def kept(database: Database) -> list[int]:
    def select(cursor: Cursor) -> list[int]:
        cursor.execute("SELECT number FROM kept ORDER BY number")
        return [number for (number,) in cursor.fetchall()]

    return await database.autocommit(select)


async def test_those_who_arrive_together_share_transactions_up_to_the_bound(
    database: Database, transactions: SharedTransactions[int, int]
) -> None:
    xids = await asyncio.gather(*(transactions.run(number) for number in range(100, 120)))
    assert [xids.count(xid) for xid in dict.fromkeys(xids)] == [8, 8, 4]
    assert await kept(database) == list(range(100, 120))


async def test_a_refused_request_leaves_the_others_alone(
    database: Database, transactions: SharedTransactions[int, int]
) -> None:
    first, refused, last = await asyncio.gather(
        *map(transactions.run, (12, REFUSED, 14)), return_exceptions=True
    )
    assert isinstance(refused, FailedPrecondition)
    assert first == last
    assert await kept(database) == [12, 14]


async def test_a_poisonous_request_fails_alone(
    database: Database, transactions: SharedTransactions[int, int]
) -> None:
    _, poisonous, _ = await asyncio.gather(
        *map(transactions.run, (1, POISONOUS, 2)), return_exceptions=True
    )
    assert isinstance(poisonous, psycopg2.errors.DivisionByZero)
    assert await kept(database) == [1, 2]
    assert await transactions.run(3)


def keep(number: int) -> Callable[[Cursor], object]:
    return lambda cursor: cursor.execute("INSERT INTO kept VALUES (%s, 0)", (number,))


async def test_requests_that_wait_for_a_transaction_that_hangs_hold_up_no_others(
    database: Database,
) -> None:
    await database.autocommit(lambda cursor: cursor.execute(TABLE))
    transactions = SharedTransactions(database, insert, clock=lambda: 0.0)
    stuck_numbers = range(1, 21)
    async with held(database, lambda cursor: [keep(n)(cursor) for n in stuck_numbers]):
        stuck = [asyncio.create_task(transactions.run(number)) for number in stuck_numbers]
        async with asyncio.timeout(3):
            assert await asyncio.gather(*map(transactions.run, (21, 22)))
            assert await transactions.run(23)
        assert not any(each.done() for each in stuck)
    assert await asyncio.gather(*stuck) == [False] * len(stuck)
    assert await kept(database) == list(range(1, 24))


async def test_a_request_whose_lock_stays_held_changes_nothing_and_may_be_repeated(
    database: Database,
) -> None:
    await database.autocommit(lambda cursor: cursor.execute(TABLE))
    seconds = iter((0.0, ALONE_SECONDS - 0.1, ALONE_SECONDS))
    transactions = SharedTransactions(database, insert, clock=lambda: next(seconds))
    async with held(database, keep(1)), asyncio.timeout(3):
        with pytest.raises(LockTimeout):
            await transactions.run(1)
    assert next(seconds, None) is None, "it was tried twice alone"
    assert await transactions.run(1) is False


async def test_a_caller_who_left_before_the_transaction_is_dropped(
    database: Database, transactions: SharedTransactions[int, int]
) -> None:
    staying = asyncio.create_task(transactions.run(1))
    leaving = asyncio.create_task(transactions.run(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying
    assert await kept(database) == [1]


async def test_requests_beyond_the_bound_are_refused_at_once(
    database: Database,
    transactions: SharedTransactions[int, int],
) -> None:
    bounded = SharedTransactions(database, invert, max_waiting=3)
    outcomes = await asyncio.gather(*map(bounded.run, range(1, 6)), return_exceptions=True)
    assert [isinstance(each, ResourceExhausted) for each in outcomes] == [False] * 3 + [True] * 2


async def test_each_committed_result_is_reported_also_if_its_caller_has_left(
    database: Database, transactions: SharedTransactions[int, int]
) -> None:
    calls: list[asyncio.Task[int]] = []

    def leave(cursor: Cursor, numbers: Sequence[int]) -> list[int | MeshError]:
        calls[0].cancel()
        return [
            each if isinstance(each, MeshError) else -n
            for n, each in zip(numbers, invert(cursor, numbers), strict=True)
        ]

    caller = ContextVar("caller", default=0)
    reported: list[tuple[int, int]] = []
    reporting = SharedTransactions(
        database, leave, on_commit=lambda result: reported.append((caller.get(), result))
    )

    async def call(number: int) -> int:
        caller.set(number)
        return await reporting.run(number)

    calls += [asyncio.create_task(call(number)) for number in (1, REFUSED, 2)]
    left, refused, stayed = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(left, asyncio.CancelledError)
    assert isinstance(refused, FailedPrecondition)
    assert (stayed, reported) == (-2, [(1, -1), (2, -2)])
