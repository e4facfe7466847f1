"""Shared transactions on a real PostgreSQL: who arrives together commits together, and what
fails fails alone."""

import asyncio
from collections.abc import Sequence

import psycopg2.errors
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted
from mesh.postgres.database import Database
from mesh.postgres.shared_transactions import SharedTransactions

REFUSED, POISONOUS = 13, 0


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


@pytest.fixture
async def transactions(database: Database) -> SharedTransactions[int, int]:
    await database.autocommit(
        lambda cursor: cursor.execute("CREATE TABLE kept (number int, x int)")
    )
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
