"""Late messages that no process expects any more, on real databases.

The test sets the clocks: the participant's is an argument, and rows are made older in the
database. Docs and docstrings describe the outcome of each case.
"""

import asyncio
import time
from dataclasses import replace

import psycopg2
import pytest

from mesh.deadlines import Deadline
from mesh.errors import Aborted, Internal, MeshError
from mesh.postgres.database import Database, LockTimeout
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import DecisionLog
from mesh.txn.local.client import LocalParticipant
from mesh.txn.model import (
    GID_MAX_AGE_SECONDS,
    AlreadyCommitted,
    BranchLost,
    GidExpired,
    GidUsed,
    Operation,
    Outcome,
    new_gid,
)
from mesh.txn.participant import Participant
from mesh.txn.sides import OperationPair
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    WiredFirst,
    apply,
    work,
)

HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture
def databases(shared_database: MakeDatabase) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("late_first", schema),
        shared_database("late_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    first, second = databases
    await empty(first)
    await empty(second)
    return TransactionCluster(first, second)


@pytest.fixture
def decisions(cluster: TransactionCluster) -> DecisionLog:
    return cluster.decisions


def gid(age_seconds: float = 0.0) -> str:
    return new_gid("coordinator-1", time.time() - age_seconds)


async def prepare(cluster: TransactionCluster, name: str, *sides: str) -> Operation[str]:
    operation = Operation(work().id, "player")
    for side in sides or ("first", "second"):
        kept = (b"debits",) if side == "second" else ()
        await getattr(cluster, side).prepare(name, time.time() + 10, [operation], *kept)
    return operation


async def run_sql(database: Database, statement: str, *values: object) -> None:
    await database.autocommit(lambda cursor: cursor.execute(statement, values))


async def pass_time(cluster: TransactionCluster, seconds: float) -> None:
    """Makes every row older, as if that much time had passed."""
    for database in (cluster.first_database, cluster.second_database):
        await run_sql(
            database,
            "UPDATE tx_branch SET created_at = created_at - make_interval(secs => %s)",
            seconds,
        )
    await run_sql(
        cluster.second_database,
        "UPDATE tx_decision SET decided_at = decided_at - make_interval(secs => %s)",
        seconds,
    )


async def clean_up(cluster: TransactionCluster) -> None:
    before = cluster.first.forgettable_before()
    open_gids = await cluster.decisions.open_gids()
    await cluster.first.forget_old_gids(before, open_gids)
    await cluster.second.forget_old_gids(before, open_gids)


async def known(database: Database) -> set[str]:
    def select(cursor: psycopg2.extensions.cursor) -> set[str]:
        cursor.execute("SELECT gid FROM tx_branch")
        return {name for (name,) in cursor.fetchall()}

    return await database.autocommit(select)


async def test_an_open_decision_is_kept_however_long_the_first_database_is_down(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(cluster, name)
    await cluster.second.commit(name)
    await pass_time(cluster, DAY + HOUR)
    await clean_up(cluster)
    assert await decisions.open_gids() == [name]
    assert await decisions.operations(name) == b"debits"
    assert await decisions.resolve(name) is Outcome.COMMIT
    await cluster.first.commit(name)
    await decisions.mark_done([name])
    await clean_up(cluster)
    assert await decisions.operations(name) is None
    assert await known(cluster.second_database) == set()
    assert await cluster.applied() == ({operation.id}, {operation.id})


async def test_a_decision_that_is_done_is_told_for_a_day(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    await cluster.second.commit(name)
    await cluster.first.commit(name)
    await decisions.mark_done([name])
    await pass_time(cluster, DAY - HOUR)
    await clean_up(cluster)
    assert await decisions.resolve(name) is Outcome.COMMIT
    (told,) = await decisions.list_decisions([name])
    assert (told.outcome, told.is_open) == (Outcome.COMMIT, False)
    await pass_time(cluster, 2 * HOUR)
    await clean_up(cluster)
    assert await decisions.list_decisions([name]) == []


async def test_a_gid_stays_known_while_its_decision_is_open_however_old_its_branch(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    await cluster.second.commit(name)
    await cluster.first.commit(name)
    await pass_time(cluster, 2 * DAY)
    await clean_up(cluster)
    # The recoverer died before it marked the decision as done; another one repeats its Commit.
    await cluster.first.commit(name)
    await cluster.second.commit(name)
    await decisions.mark_done([name])
    await clean_up(cluster)
    for side in (cluster.first, cluster.second):
        with pytest.raises(BranchLost):
            await side.commit(name)


async def test_a_cleanup_that_comes_a_day_late_forgets_no_gid_that_it_has_not_heard_of(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    before, open_gids = cluster.first.forgettable_before(), await decisions.open_gids()
    name = gid()
    await prepare(cluster, name)
    await cluster.second.commit(name)
    await cluster.first.commit(name)
    await decisions.mark_done([name])
    # A day passes. For the running cleanup this is as if it had started earlier.
    for side in (cluster.first, cluster.second):
        await side.forget_old_gids(before, open_gids)
        await side.commit(name)


async def test_the_deciding_database_keeps_an_open_gid_that_the_cleanup_was_not_told(
    cluster: TransactionCluster,
) -> None:
    name = gid()
    await prepare(cluster, name)
    await cluster.second.commit(name)
    await pass_time(cluster, 2 * DAY)
    await cluster.second.forget_old_gids(cluster.second.forgettable_before(), [])
    assert await known(cluster.second_database) == {name}


async def test_recovery_tells_the_cleanup_which_gids_are_open(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    kept, gone = gid(), gid()
    for name in (kept, gone):
        await prepare(cluster, name)
        await cluster.second.commit(name)
        await cluster.first.commit(name)
    await decisions.mark_done([gone])
    await pass_time(cluster, 2 * DAY)
    for follows in (True, False):
        await cluster.branch_recovery(follows=follows).run_once()
    for side in (cluster.first, cluster.second):
        await side.commit(kept)
        with pytest.raises(BranchLost):
            await side.commit(gone)


async def test_a_coordinator_that_slept_commits_however_old_its_branches_if_nobody_resolved_them(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(cluster, name)
    for database, side in ((cluster.second_database, "second"), (cluster.first_database, "first")):
        later = Participant(database, side, apply, clock=lambda: time.time() + HOUR)
        await later.commit(name)
    assert await decisions.resolve(name) is Outcome.COMMIT
    assert await cluster.applied() == ({operation.id}, {operation.id})


async def test_a_coordinator_that_slept_while_its_abort_was_forgotten_cannot_commit(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(cluster, name)
    assert await decisions.resolve(name) is Outcome.ABORT
    await cluster.first.abort(name)
    await pass_time(cluster, DAY + 1)
    await clean_up(cluster)
    assert await known(cluster.second_database) == set()
    with pytest.raises(BranchLost):
        await cluster.second.commit(name)
    later = Participant(
        cluster.second_database, "second", apply, clock=lambda: time.time() + DAY, decides=True
    )
    with pytest.raises(GidExpired):
        await later.prepare(name, time.time() + 2 * DAY, [operation], b"debits")
    assert await decisions.open_gids() == []
    assert await cluster.applied() == (set(), set())


async def test_a_branch_of_a_forgotten_abort_is_aborted_after_a_day_down(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    assert await decisions.resolve(name) is Outcome.ABORT
    await pass_time(cluster, DAY + HOUR)
    await clean_up(cluster)
    assert await known(cluster.second_database) == set()
    # The first database is back, with its branch.
    await cluster.branch_recovery(follows=True).run_once()
    assert await cluster.applied() == (set(), set())
    assert await cluster.prepared_count() == 0


async def test_a_resolve_that_comes_after_everything_was_forgotten_undoes_nothing(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(cluster, name)
    await cluster.second.commit(name)
    await cluster.first.commit(name)
    await decisions.mark_done([name])
    await pass_time(cluster, DAY + 1)
    await cluster.second.forget_old_gids(cluster.second.forgettable_before(), [])
    assert await decisions.resolve(name) is Outcome.ABORT
    with pytest.raises(AlreadyCommitted):
        await cluster.first.abort(name)
    # Later the first database forgets the gid too.
    await clean_up(cluster)
    await cluster.first.abort(name)
    assert await cluster.applied() == ({operation.id}, {operation.id})


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_a_prepare_that_comes_after_its_gid_was_forgotten_is_refused_for_its_age(
    cluster: TransactionCluster, end: str
) -> None:
    name = gid()
    operation = await prepare(cluster, name, "first")
    await getattr(cluster.first, end)(name)
    await pass_time(cluster, DAY + 1)
    await clean_up(cluster)
    later = Participant(cluster.first_database, "first", apply, clock=lambda: time.time() + DAY + 1)
    with pytest.raises(GidExpired):
        await later.prepare(name, time.time() + 2 * DAY, [operation])
    # A clock that is less than a day slow also leads to a refusal.
    behind = Participant(
        cluster.first_database, "first", apply, clock=lambda: time.time() + GID_MAX_AGE_SECONDS + 2
    )
    with pytest.raises(GidExpired):
        await behind.prepare(name, time.time() + 2 * DAY, [operation])


@pytest.mark.parametrize("skew_seconds", [-31.0, 31.0])
async def test_a_participant_with_a_wrong_clock_refuses(
    cluster: TransactionCluster, skew_seconds: float
) -> None:
    skewed = Participant(
        cluster.first_database, "first", apply, clock=lambda: time.time() + skew_seconds
    )
    with pytest.raises(GidExpired):
        await skewed.prepare(gid(), time.time() + 100, [Operation(work().id, "player")])


async def test_a_prepare_that_comes_twice_makes_one_branch(cluster: TransactionCluster) -> None:
    name = gid()
    operation = await prepare(cluster, name, "first")
    with pytest.raises((GidUsed, LockTimeout)):
        await cluster.first.prepare(name, time.time() + 10, [operation])
    await cluster.first.commit(name)
    with pytest.raises(GidUsed):
        await cluster.first.prepare(name, time.time() + 10, [operation])
    assert await cluster.applied() == ({operation.id}, set())


async def test_commits_and_aborts_that_are_repeated_late_give_their_first_answer(
    cluster: TransactionCluster,
) -> None:
    committed, aborted = gid(), gid()
    operation = await prepare(cluster, committed, "first")
    await prepare(cluster, aborted, "second")
    await cluster.first.commit(committed)
    await cluster.second.abort(aborted)
    await pass_time(cluster, DAY / 2)
    for _ in range(2):
        await cluster.first.commit(committed)
        await cluster.second.abort(aborted)
        with pytest.raises(AlreadyCommitted):
            await cluster.first.abort(committed)
        with pytest.raises(BranchLost):
            await cluster.second.commit(aborted)
    assert await cluster.applied() == ({operation.id}, set())


async def test_an_abort_that_is_cut_off_before_its_tombstone_is_finished_by_the_next(
    cluster: TransactionCluster,
) -> None:
    name = gid()
    operation = await prepare(cluster, name, "first")
    await run_sql(cluster.first_database, "ROLLBACK PREPARED %s", f"first/{name}")
    # A second copy of its Prepare arrives between the two statements.
    await cluster.first.prepare(name, time.time() + 10, [operation])
    await cluster.first.abort(name)
    assert await cluster.prepared_count() == 0
    with pytest.raises(GidUsed):
        await cluster.first.prepare(name, time.time() + 10, [operation])


async def test_several_may_settle_one_branch_at_the_same_time(cluster: TransactionCluster) -> None:
    name = gid()
    operation = await prepare(cluster, name, "first")
    answers = await asyncio.gather(
        *(cluster.first.commit(name) for _ in range(6)), return_exceptions=True
    )
    assert [each for each in answers if each is not None] == []
    assert await cluster.applied() == ({operation.id}, set())


async def test_a_bug_in_the_coordinators_own_participant_fails_one_work_and_leaves_no_branch(
    cluster: TransactionCluster,
) -> None:
    wire = Wire()
    coordinator = Coordinator(
        "coordinator-1",
        WiredFirst(cluster.first, wire),
        LocalParticipant(cluster.second),
    )
    asked: OperationPair = replace(work(), second="a NUL that PostgreSQL refuses: \0")
    with pytest.raises(MeshError) as raised:
        await coordinator.run([asked], Deadline.after(5))
    assert not isinstance(raised.value, Aborted)
    assert raised.value.code == Internal.CODE
    assert await cluster.prepared_count() == 0
