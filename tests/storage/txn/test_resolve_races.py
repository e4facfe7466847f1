"""A Commit of the second branch races with Resolve, on real databases: PostgreSQL chooses one
outcome, and both sides end alike."""

import asyncio
import time

import pytest

from mesh.deadlines import Deadline
from mesh.errors import Aborted, InvalidArgument, Unavailable
from mesh.postgres.database import Database, LockTimeout
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.decisions import DecisionLog
from mesh.txn.model import BranchLost, GidUsed, Operation, Outcome, new_gid
from mesh.txn.participant import Participant
from mesh.txn.sides import Committed
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    apply,
    hold_gid,
    release_gid,
    work,
)

ROUNDS = 60
RACERS = [(1, 1), (1, 3), (3, 1), (3, 3)]
"""How many Commits and how many Resolves of one gid are sent at the same time."""
PAUSES = [(0.0, 0.005), (0.0, 0.0005), (0.0, 0.0), (0.0005, 0.0), (0.005, 0.0)]
"""How many seconds the Commits and the Resolves wait."""


@pytest.fixture
def databases(shared_database: MakeDatabase) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("racing_first", schema),
        shared_database("racing_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    first, second = databases
    await empty(first)
    await empty(second)
    return TransactionCluster(first, second)


async def prepare(cluster: TransactionCluster, name: str) -> Operation[str]:
    operation = Operation(work().id, "player")
    await cluster.first.prepare(name, time.time() + 10, [operation])
    await cluster.second.prepare(name, time.time() + 10, [operation], b"debits")
    return operation


async def commit(cluster: TransactionCluster, name: str, pause_seconds: float) -> Outcome | None:
    await asyncio.sleep(pause_seconds)
    try:
        await cluster.second.commit(name)
    except BranchLost:
        return Outcome.ABORT
    except Aborted:
        return None
    return Outcome.COMMIT


async def resolve(cluster: TransactionCluster, name: str, pause_seconds: float) -> Outcome | None:
    await asyncio.sleep(pause_seconds)
    try:
        return await cluster.decisions.resolve(name)
    except Aborted:
        return None


async def test_a_commit_and_a_resolve_choose_one_outcome_however_they_race(
    cluster: TransactionCluster,
) -> None:
    chosen: list[Outcome] = []
    expected: set[str] = set()
    for number in range(ROUNDS):
        name = new_gid("coordinator-1", time.time())
        operation = await prepare(cluster, name)
        commits, resolves = RACERS[number % len(RACERS)]
        commit_pause, resolve_pause = PAUSES[number % len(PAUSES)]
        told = await asyncio.gather(
            *(resolve(cluster, name, resolve_pause) for _ in range(resolves)),
            *(commit(cluster, name, commit_pause) for _ in range(commits)),
        )
        (outcome,) = set(told) - {None}
        assert outcome is not None
        assert await cluster.decisions.resolve(name) is outcome
        kept = await cluster.decisions.operations(name)
        assert kept == (b"debits" if outcome is Outcome.COMMIT else None)
        chosen.append(outcome)
        if outcome is Outcome.COMMIT:
            expected.add(operation.id)
        await cluster.recover()
        assert await cluster.prepared_count() == 0
    assert await cluster.applied() == (expected, expected)
    assert set(chosen) == set(Outcome), "each side won at times"


async def test_coordinators_and_impatient_recoverers_leave_both_sides_alike(
    cluster: TransactionCluster,
) -> None:
    """Recovery takes every branch at once, also those of live coordinators."""
    coordinators = [cluster.coordinator(Wire()) for _ in range(3)]
    asked = [work() for _ in range(30)]
    running = True

    async def recover() -> None:
        while running:
            await asyncio.gather(cluster.recover(), return_exceptions=True)
            await asyncio.sleep(0.005)

    recovering = [asyncio.create_task(recover()) for _ in range(2)]
    answers = await asyncio.gather(
        *(
            coordinators[number % 3].run([pair], Deadline.after(20))
            for number, pair in enumerate(asked)
        ),
        return_exceptions=True,
    )
    running = False
    await asyncio.gather(*recovering)
    await cluster.recover()
    first, second = await cluster.applied()
    assert first == second
    assert await cluster.prepared_count() == 0
    for pair, answer in zip(asked, answers, strict=True):
        if not isinstance(answer, BaseException) and isinstance(answer[pair.id], Committed):
            assert pair.id in first


@pytest.fixture
def cut_off(cluster: TransactionCluster) -> DecisionLog:
    """The decisions of a process that dies before it writes a tombstone."""

    def die(point: str) -> None:
        if point == "second.before_tombstone":
            raise Unavailable("the process died")

    return DecisionLog(
        cluster.second_database,
        Participant(cluster.second_database, "second", apply, failpoint=die, decides=True),
    )


@pytest.mark.parametrize("next_comes", ["another resolve", "the coordinator's commit"])
async def test_a_late_prepare_after_a_resolve_without_a_tombstone_leaves_both_sides_alike(
    cluster: TransactionCluster, cut_off: DecisionLog, next_comes: str
) -> None:
    name = new_gid("coordinator-1", time.time())
    operation = await prepare(cluster, name)
    with pytest.raises(Unavailable):
        await cut_off.resolve(name)
    # The second branch is gone. A copy of its Prepare is not refused yet.
    await cluster.second.prepare(name, time.time() + 10, [operation], b"debits")
    if next_comes == "another resolve":
        assert await cluster.decisions.resolve(name) is Outcome.ABORT
        with pytest.raises(GidUsed):
            await cluster.second.prepare(name, time.time() + 10, [operation], b"debits")
        with pytest.raises(BranchLost):
            await cluster.second.commit(name)
        expected = set()
    else:
        await cluster.second.commit(name)
        assert await cluster.decisions.resolve(name) is Outcome.COMMIT
        expected = {operation.id}
    await cluster.recover()
    assert await cluster.applied() == (expected, expected)
    assert await cluster.prepared_count() == 0


async def test_a_resolve_while_a_prepare_is_under_way_decides_nothing(
    cluster: TransactionCluster,
) -> None:
    name = new_gid("coordinator-1", time.time())
    await cluster.first.prepare(name, time.time() + 10, [Operation(work().id, "player")])
    await hold_gid(cluster.second_database, name)
    with pytest.raises(LockTimeout):
        await cluster.decisions.resolve(name)
    await cluster.branch_recovery(follows=True).run_once()
    assert [branch.gid for branch in await cluster.first.branches(0)] == [name]
    await release_gid(cluster.second_database)
    await cluster.branch_recovery(follows=True).run_once()
    assert await cluster.prepared_count() == 0


@pytest.mark.parametrize("name", ["", "no gid", "c:170000000000:0123456789abcdef"])
async def test_a_malformed_gid_is_never_resolved(cluster: TransactionCluster, name: str) -> None:
    """A branch that somebody has prepared by hand stays for them."""
    await cluster.second_database.autocommit(
        lambda cursor: cursor.execute(
            "BEGIN; INSERT INTO applied VALUES (gen_random_uuid(), 'x'); PREPARE TRANSACTION %s",
            (f"second/{name}",),
        )
    )
    with pytest.raises(InvalidArgument):
        await cluster.decisions.resolve(name)
    for follows in (True, False):
        await cluster.branch_recovery(follows=follows).run_once()
    assert [branch.gid for branch in await cluster.second.branches(0)] == [name]
