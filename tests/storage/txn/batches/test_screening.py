"""Batches of which the second participant refuses an operation, over two real databases: after the
first such batch, a refused operation costs its neighbours no second transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import Unavailable
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Coordinator
from mesh.txn.local.screening import SCREENING_SECONDS, Screening, local_screen
from mesh.txn.model import No, Operation
from mesh.txn.sides import Committed, OperationPair
from tests.storage.conftest import empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    WiredFirst,
    WiredSecond,
    many,
    work,
)

TRANSACTION = [
    "prepare first",
    "prepare second",
    "commit second",
    "commit first",
]


@pytest.fixture
def databases(shared_database: Callable[[str, str], Database]) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("screened_first", schema),
        shared_database("screened_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    first, second = databases
    await empty(first)
    await empty(second)
    return TransactionCluster(first, second)


def foresee(cursor: Cursor, operations: Sequence[Operation[str]]) -> Mapping[str, No]:
    """The operations that `apply` refuses; it needs the lock of a row that must stay free."""
    cursor.execute("SELECT FROM applied FOR UPDATE")
    return {each.id: No("REFUSED") for each in operations if each.body.startswith("refuse")}


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def coordinator_of(
    cluster: TransactionCluster, wire: Wire, screening: Screening, restarts: list[None]
) -> Coordinator:
    return Coordinator(
        "coordinator-1",
        WiredFirst(cluster.first, wire),
        WiredSecond(cluster.second, wire),
        screening=screening,
        count_restart=lambda: restarts.append(None),
    )


def with_a_refused_one() -> tuple[list[OperationPair], OperationPair]:
    neighbours, refused = many(7), work(second="refuse")
    return [*neighbours[:3], refused, *neighbours[3:]], refused


async def test_after_a_refusal_the_next_refused_operations_cost_their_neighbours_nothing(
    cluster: TransactionCluster,
) -> None:
    wire, restarts, clock = Wire(), list[None](), Clock()
    screening = Screening(local_screen(cluster.second_database, foresee), clock)
    coordinator = coordinator_of(cluster, wire, screening, restarts)
    expected: set[str] = set()
    for batch_number in range(4):
        wire.seen.clear()
        batch, refused = with_a_refused_one()
        answers = await coordinator.run(batch, Deadline.after(5))
        assert answers.pop(refused.id) == No("REFUSED")  # type: ignore[attr-defined]
        assert {type(answer) for answer in answers.values()} == {Committed}
        expected |= answers.keys()
        if batch_number:
            assert wire.seen == TRANSACTION
    assert len(restarts) == 1
    assert await cluster.applied() == (expected, expected)
    assert await cluster.prepared_count() == 0


async def test_batches_without_refusals_are_not_screened_for_longer_than_a_while(
    cluster: TransactionCluster,
) -> None:
    screened: list[int] = []

    async def count(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        screened.append(len(operations))
        return {}

    clock, restarts = Clock(), list[None]()
    coordinator = coordinator_of(cluster, Wire(), Screening(count, clock), restarts)
    await coordinator.run(many(3), Deadline.after(5))
    assert screened == []
    await coordinator.run(with_a_refused_one()[0], Deadline.after(5))
    await coordinator.run(many(3), Deadline.after(5))
    await coordinator.run(many(1), Deadline.after(5))
    assert screened == [3]
    clock.seconds += SCREENING_SECONDS + 0.1
    await coordinator.run(many(3), Deadline.after(5))
    assert screened == [3]


async def test_a_screen_waits_for_a_frozen_database_no_longer_than_the_callers(
    cluster: TransactionCluster,
) -> None:
    async def freeze(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        await asyncio.Event().wait()
        return {}

    screening = Screening(freeze, Clock())
    screening.begin()
    operations = [Operation(pair.id, pair.second) for pair in many(3)]
    async with asyncio.timeout(5):
        assert await screening.refused(operations, Deadline.after(0.05)) == {}


@pytest.mark.parametrize(
    "error", [Unavailable("the database is away"), KeyError("a bug")], ids=repr
)
async def test_a_screen_that_fails_leaves_the_refusal_to_the_branch(
    cluster: TransactionCluster, error: Exception
) -> None:
    async def fail(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        raise error

    restarts = list[None]()
    coordinator = coordinator_of(cluster, Wire(), Screening(fail, Clock()), restarts)
    for _ in range(2):
        batch, refused = with_a_refused_one()
        answers = await coordinator.run(batch, Deadline.after(5))
        assert answers[refused.id] == No("REFUSED")
        assert len(answers) == len(batch)
    assert len(restarts) == 2
