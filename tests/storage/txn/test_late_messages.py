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
from mesh.errors import Aborted, Internal, InvalidArgument, MeshError
from mesh.postgres.database import Database, LockTimeout
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Coordinator, OperationPair
from mesh.txn.decisions import DECIDABLE_SECONDS, DecisionLog
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
from mesh.txn.recovery import BranchRecovery
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    Local,
    TransactionCluster,
    Wire,
    WiredLog,
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
    return TransactionCluster(
        first, second, Participant(first, "first", apply), Participant(second, "second", apply)
    )


@pytest.fixture
def decisions(cluster: TransactionCluster) -> DecisionLog:
    return DecisionLog(cluster.second_database)


def gid(age_seconds: float = 0.0) -> str:
    return new_gid("coordinator-1", time.time() - age_seconds)


async def prepare(cluster: TransactionCluster, name: str, *sides: str) -> Operation[str]:
    operation = Operation(work().id, "player")
    for side in sides or ("first", "second"):
        await getattr(cluster, side).prepare(name, time.time() + 10, [operation])
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
        "UPDATE tx_decision SET decided_at = decided_at - make_interval(secs => %s),"
        " done_at = done_at - make_interval(secs => %s)",
        seconds,
        seconds,
    )


async def clean_up(cluster: TransactionCluster, decisions: DecisionLog) -> None:
    before = cluster.first.forgettable_before()
    open_gids = await decisions.open_gids()
    await cluster.first.forget_old_gids(before, open_gids)
    await cluster.second.forget_old_gids(before, open_gids)
    await decisions.forget_old()


async def standing(cluster: TransactionCluster) -> set[str]:
    def select(cursor: psycopg2.extensions.cursor) -> set[str]:
        cursor.execute("SELECT gid FROM tx_decision")
        return {name for (name,) in cursor.fetchall()}

    return await cluster.second_database.autocommit(select)


async def test_a_resolve_and_a_wish_to_commit_choose_one_outcome_however_they_race(
    decisions: DecisionLog,
) -> None:
    for _ in range(10):
        name = gid()
        wishes = [
            *(decisions.resolve(name) for _ in range(3)),
            *(decisions.decide(name, Outcome.COMMIT, b"debits") for _ in range(3)),
        ]
        outcomes = set(await asyncio.gather(*wishes))
        assert len(outcomes) == 1
        kept = await decisions.operations(name)
        assert kept == (b"debits" if outcomes == {Outcome.COMMIT} else None)


async def test_a_decision_is_kept_an_hour_after_it_was_done_and_not_after_it_was_made(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await pass_time(cluster, DAY + HOUR)  # a database was down
    await clean_up(cluster, decisions)
    assert await decisions.open_gids() == [name]
    await cluster.recover_commits(name)
    await decisions.mark_done([name])
    await clean_up(cluster, decisions)
    assert await decisions.resolve(name) is Outcome.COMMIT, "whoever asked just before is told"
    await pass_time(cluster, HOUR + 1)
    await clean_up(cluster, decisions)
    assert await standing(cluster) == set()


async def test_a_gid_stays_known_while_its_decision_is_open_however_old_its_branch(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await cluster.first.commit(name)
    await cluster.second.commit(name)
    await pass_time(cluster, 2 * DAY)
    await clean_up(cluster, decisions)
    # The recoverer died before it marked the decision as done; another one repeats both.
    await cluster.first.commit(name)
    await cluster.second.commit(name)
    await decisions.mark_done([name])
    await clean_up(cluster, decisions)
    with pytest.raises(BranchLost):
        await cluster.second.commit(name)


async def test_a_cleanup_that_comes_a_day_late_forgets_no_gid_that_it_has_not_heard_of(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    before, open_gids = cluster.second.forgettable_before(), await decisions.open_gids()
    name = gid()
    await prepare(cluster, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await cluster.recover_commits(name)
    # A day passes. For the running cleanup this is as if it had started earlier.
    await cluster.second.forget_old_gids(before, open_gids)
    await cluster.second.commit(name)


async def test_recovery_tells_the_cleanup_which_gids_are_open(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    kept, gone = gid(), gid()
    for name in (kept, gone):
        await prepare(cluster, name, "first")
        await decisions.decide(name, Outcome.COMMIT, b"debits")
        await cluster.first.commit(name)
    await decisions.mark_done([gone])
    await pass_time(cluster, 2 * DAY)
    await BranchRecovery(cluster.first, decisions, commits=True).run_once()
    await cluster.first.commit(kept)
    with pytest.raises(BranchLost):
        await cluster.first.commit(gone)


async def test_a_coordinator_that_slept_while_its_abort_was_forgotten_cannot_commit(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid(age_seconds=HOUR + 10)
    assert await decisions.resolve(name) is Outcome.ABORT
    await pass_time(cluster, HOUR + 1)
    await clean_up(cluster, decisions)
    assert await standing(cluster) == set()
    assert await decisions.decide(name, Outcome.COMMIT, b"debits") is Outcome.ABORT
    assert await decisions.operations(name) is None


@pytest.mark.parametrize(
    ("age_seconds", "outcome"),
    [
        (DECIDABLE_SECONDS - 5, Outcome.COMMIT),
        (DECIDABLE_SECONDS + 1, Outcome.ABORT),
        (-GID_MAX_AGE_SECONDS, Outcome.COMMIT),
    ],
    ids=["slow", "too slow", "a clock that is ahead"],
)
async def test_a_gid_can_be_committed_for_a_minute(
    decisions: DecisionLog, age_seconds: float, outcome: Outcome
) -> None:
    assert await decisions.decide(gid(age_seconds), Outcome.COMMIT, b"debits") is outcome


async def test_a_branch_of_a_forgotten_abort_is_aborted_after_a_day_down(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(cluster, name)
    assert await decisions.resolve(name) is Outcome.ABORT
    await cluster.second.abort(name)
    await pass_time(cluster, DAY + HOUR)
    await clean_up(cluster, decisions)
    assert await standing(cluster) == set()
    # The first database is back, with its branch.
    await BranchRecovery(cluster.first, decisions, commits=True, min_age_seconds=0).run_once()
    assert await cluster.applied() == (set(), set())
    assert await cluster.prepared_count() == 0


async def test_a_resolve_that_comes_after_everything_was_forgotten_undoes_nothing(
    cluster: TransactionCluster, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(cluster, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await cluster.recover_commits(name)
    await decisions.mark_done([name])
    await pass_time(cluster, HOUR + 1)
    await clean_up(cluster, decisions)
    assert await decisions.resolve(name) is Outcome.ABORT
    for side in (cluster.first, cluster.second):
        with pytest.raises(AlreadyCommitted):
            await side.abort(name)
    # A day later the gids are deleted too.
    await pass_time(cluster, DAY)
    await clean_up(cluster, decisions)
    for side in (cluster.first, cluster.second):
        await side.abort(name)
    assert await cluster.applied() == ({operation.id}, {operation.id})


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_a_prepare_that_comes_after_its_gid_was_forgotten_is_refused_for_its_age(
    cluster: TransactionCluster, decisions: DecisionLog, end: str
) -> None:
    name = gid()
    operation = await prepare(cluster, name, "first")
    await getattr(cluster.first, end)(name)
    await pass_time(cluster, DAY + 1)
    await clean_up(cluster, decisions)
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


@pytest.mark.parametrize("name", ["", "no gid", "c:170000000000:0123456789abcdef"])
async def test_an_invalid_gid_is_never_decided(decisions: DecisionLog, name: str) -> None:
    for wanted in Outcome:
        with pytest.raises(InvalidArgument):
            await decisions.decide(name, wanted)


async def test_a_bug_in_the_coordinators_own_participant_fails_one_work_and_leaves_no_branch(
    cluster: TransactionCluster,
) -> None:
    wire = Wire()
    coordinator = Coordinator(
        "coordinator-1",
        Local("first", cluster.first, wire),
        LocalParticipant(cluster.second),
        WiredLog(cluster.second_database, wire),
    )
    asked: OperationPair = replace(work(), second="a NUL that PostgreSQL refuses: \0")
    with pytest.raises(MeshError) as raised:
        await coordinator.run([asked], Deadline.after(5))
    assert not isinstance(raised.value, Aborted)
    assert raised.value.code == Internal.CODE
    assert await cluster.prepared_count() == 0
