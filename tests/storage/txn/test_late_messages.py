"""Messages that come when nobody expects them any more, on real databases.

Clocks are what a test says: the participant's is handed in, and rows are made older by the
database's. Each case is one that docs and docstrings give an answer to.
"""

import asyncio
import time
from collections.abc import Callable
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
from mesh.txn.local import LocalParticipant
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
from tests.storage.conftest import empty
from tests.storage.txn.coordinator_house import TABLE, House, Local, Wire, WiredLog, apply, work

HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture
def databases(shared_database: Callable[[str, str], Database]) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("late_first", schema),
        shared_database("late_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def house(databases: tuple[Database, Database]) -> House:
    first, second = databases
    await empty(first)
    await empty(second)
    return House(
        first, second, Participant(first, "first", apply), Participant(second, "second", apply)
    )


@pytest.fixture
def decisions(house: House) -> DecisionLog:
    return DecisionLog(house.second_database)


def gid(age_seconds: float = 0.0) -> str:
    return new_gid("coordinator-1", time.time() - age_seconds)


async def prepare(house: House, name: str, *sides: str) -> Operation[str]:
    operation = Operation(work().id, "player")
    for side in sides or ("first", "second"):
        await getattr(house, side).prepare(name, time.time() + 10, [operation])
    return operation


async def run_sql(database: Database, statement: str, *values: object) -> None:
    await database.autocommit(lambda cursor: cursor.execute(statement, values))


async def pass_time(house: House, seconds: float) -> None:
    """Makes every row older, as if so much time had passed since."""
    for database in (house.first_database, house.second_database):
        await run_sql(
            database,
            "UPDATE tx_branch SET created_at = created_at - make_interval(secs => %s)",
            seconds,
        )
    await run_sql(
        house.second_database,
        "UPDATE tx_decision SET decided_at = decided_at - make_interval(secs => %s),"
        " done_at = done_at - make_interval(secs => %s)",
        seconds,
        seconds,
    )


async def clean_up(house: House, decisions: DecisionLog) -> None:
    before = house.first.forgettable_before()
    open_gids = await decisions.open_gids()
    await house.first.forget_old_gids(before, open_gids)
    await house.second.forget_old_gids(before, open_gids)
    await decisions.forget_old()


async def standing(house: House) -> set[str]:
    def select(cursor: psycopg2.extensions.cursor) -> set[str]:
        cursor.execute("SELECT gid FROM tx_decision")
        return {name for (name,) in cursor.fetchall()}

    return await house.second_database.autocommit(select)


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
    house: House, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(house, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await pass_time(house, DAY + HOUR)  # a database was away
    await clean_up(house, decisions)
    assert await decisions.open_gids() == [name]
    await house.recover_commits(name)
    await decisions.mark_done([name])
    await clean_up(house, decisions)
    assert await decisions.resolve(name) is Outcome.COMMIT, "whoever asked just before is told"
    await pass_time(house, HOUR + 1)
    await clean_up(house, decisions)
    assert await standing(house) == set()


async def test_a_gid_stays_known_while_its_decision_is_open_however_old_its_branch(
    house: House, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(house, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await house.first.commit(name)
    await house.second.commit(name)
    await pass_time(house, 2 * DAY)
    await clean_up(house, decisions)
    # The recoverer that had noted nothing died; another one repeats both.
    await house.first.commit(name)
    await house.second.commit(name)
    await decisions.mark_done([name])
    await clean_up(house, decisions)
    with pytest.raises(BranchLost):
        await house.second.commit(name)


async def test_a_cleanup_that_comes_a_day_late_forgets_no_gid_that_it_has_not_heard_of(
    house: House, decisions: DecisionLog
) -> None:
    before, open_gids = house.second.forgettable_before(), await decisions.open_gids()
    name = gid()
    await prepare(house, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await house.recover_commits(name)
    # A day passes: for the cleanup that is on its way this is as if it had begun earlier.
    await house.second.forget_old_gids(before, open_gids)
    await house.second.commit(name)


async def test_recovery_tells_the_cleanup_which_gids_are_open(
    house: House, decisions: DecisionLog
) -> None:
    kept, gone = gid(), gid()
    for name in (kept, gone):
        await prepare(house, name, "first")
        await decisions.decide(name, Outcome.COMMIT, b"debits")
        await house.first.commit(name)
    await decisions.mark_done([gone])
    await pass_time(house, 2 * DAY)
    await BranchRecovery(house.first, decisions, commits=True).run_once()
    await house.first.commit(kept)
    with pytest.raises(BranchLost):
        await house.first.commit(gone)


async def test_a_coordinator_that_slept_while_its_abort_was_forgotten_cannot_commit(
    house: House, decisions: DecisionLog
) -> None:
    name = gid(age_seconds=HOUR + 10)
    assert await decisions.resolve(name) is Outcome.ABORT
    await pass_time(house, HOUR + 1)
    await clean_up(house, decisions)
    assert await standing(house) == set()
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


async def test_a_database_that_was_away_for_a_day_aborts_what_nobody_remembers(
    house: House, decisions: DecisionLog
) -> None:
    name = gid()
    await prepare(house, name)
    assert await decisions.resolve(name) is Outcome.ABORT
    await house.second.abort(name)
    await pass_time(house, DAY + HOUR)
    await clean_up(house, decisions)
    assert await standing(house) == set()
    # The first database comes back, with its branch.
    await BranchRecovery(house.first, decisions, commits=True, min_age_seconds=0).run_once()
    assert await house.applied() == (set(), set())
    assert await house.prepared_count() == 0


async def test_a_resolve_that_comes_after_everything_was_forgotten_undoes_nothing(
    house: House, decisions: DecisionLog
) -> None:
    name = gid()
    operation = await prepare(house, name)
    await decisions.decide(name, Outcome.COMMIT, b"debits")
    await house.recover_commits(name)
    await decisions.mark_done([name])
    await pass_time(house, HOUR + 1)
    await clean_up(house, decisions)
    assert await decisions.resolve(name) is Outcome.ABORT
    for side in (house.first, house.second):
        with pytest.raises(AlreadyCommitted):
            await side.abort(name)
    # A day later the gids are forgotten too.
    await pass_time(house, DAY)
    await clean_up(house, decisions)
    for side in (house.first, house.second):
        await side.abort(name)
    assert await house.applied() == ({operation.id}, {operation.id})


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_a_prepare_that_comes_after_its_gid_was_forgotten_is_refused_for_its_age(
    house: House, decisions: DecisionLog, end: str
) -> None:
    name = gid()
    operation = await prepare(house, name, "first")
    await getattr(house.first, end)(name)
    await pass_time(house, DAY + 1)
    await clean_up(house, decisions)
    later = Participant(house.first_database, "first", apply, clock=lambda: time.time() + DAY + 1)
    with pytest.raises(GidExpired):
        await later.prepare(name, time.time() + 2 * DAY, [operation])
    # With a clock that is behind by less than a day it is refused as well.
    behind = Participant(
        house.first_database, "first", apply, clock=lambda: time.time() + GID_MAX_AGE_SECONDS + 2
    )
    with pytest.raises(GidExpired):
        await behind.prepare(name, time.time() + 2 * DAY, [operation])


@pytest.mark.parametrize("skew_seconds", [-31.0, 31.0])
async def test_a_participant_whose_clock_is_wrong_refuses_rather_than_to_believe(
    house: House, skew_seconds: float
) -> None:
    skewed = Participant(
        house.first_database, "first", apply, clock=lambda: time.time() + skew_seconds
    )
    with pytest.raises(GidExpired):
        await skewed.prepare(gid(), time.time() + 100, [Operation(work().id, "player")])


async def test_a_prepare_that_comes_twice_makes_one_branch(house: House) -> None:
    name = gid()
    operation = await prepare(house, name, "first")
    with pytest.raises((GidUsed, LockTimeout)):
        await house.first.prepare(name, time.time() + 10, [operation])
    await house.first.commit(name)
    with pytest.raises(GidUsed):
        await house.first.prepare(name, time.time() + 10, [operation])
    assert await house.applied() == ({operation.id}, set())


async def test_commits_and_aborts_that_are_repeated_late_give_their_first_answer(
    house: House,
) -> None:
    committed, aborted = gid(), gid()
    operation = await prepare(house, committed, "first")
    await prepare(house, aborted, "second")
    await house.first.commit(committed)
    await house.second.abort(aborted)
    await pass_time(house, DAY / 2)
    for _ in range(2):
        await house.first.commit(committed)
        await house.second.abort(aborted)
        with pytest.raises(AlreadyCommitted):
            await house.first.abort(committed)
        with pytest.raises(BranchLost):
            await house.second.commit(aborted)
    assert await house.applied() == ({operation.id}, set())


async def test_an_abort_that_is_cut_off_before_its_tombstone_is_finished_by_the_next(
    house: House,
) -> None:
    name = gid()
    operation = await prepare(house, name, "first")
    await run_sql(house.first_database, "ROLLBACK PREPARED %s", f"first/{name}")
    # Its Prepare, sent twice, slips in between the two statements.
    await house.first.prepare(name, time.time() + 10, [operation])
    await house.first.abort(name)
    assert await house.prepared_count() == 0
    with pytest.raises(GidUsed):
        await house.first.prepare(name, time.time() + 10, [operation])


async def test_several_may_settle_one_branch_at_the_same_time(house: House) -> None:
    name = gid()
    operation = await prepare(house, name, "first")
    answers = await asyncio.gather(
        *(house.first.commit(name) for _ in range(6)), return_exceptions=True
    )
    assert [each for each in answers if each is not None] == []
    assert await house.applied() == ({operation.id}, set())


@pytest.mark.parametrize("name", ["", "no gid", "c:170000000000:0123456789abcdef"])
async def test_what_is_no_gid_is_never_decided(decisions: DecisionLog, name: str) -> None:
    for wanted in Outcome:
        with pytest.raises(InvalidArgument):
            await decisions.decide(name, wanted)


async def test_a_bug_in_the_coordinators_own_participant_fails_one_work_and_leaves_no_branch(
    house: House,
) -> None:
    wire = Wire()
    coordinator = Coordinator(
        "coordinator-1",
        Local("first", house.first, wire),
        LocalParticipant(house.second),
        WiredLog(house.second_database, wire),
    )
    asked: OperationPair = replace(work(), second="a NUL that PostgreSQL refuses: \0")
    with pytest.raises(MeshError) as raised:
        await coordinator.run([asked], Deadline.after(5))
    assert not isinstance(raised.value, Aborted)
    assert raised.value.code == Internal.CODE
    assert await house.prepared_count() == 0
