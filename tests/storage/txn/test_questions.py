"""The standing questions of recovery say whether its rounds have work, on a real PostgreSQL."""

import time
from uuid import uuid4

import pytest

from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.decisions import DecisionLog, unfinished_question
from mesh.txn.model import Operation, Outcome, new_gid
from mesh.txn.participant import Participant
from tests.storage.asking import answer_of
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import TABLE, apply


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    tables = branches.SCHEMA + TABLE + decision_log.SCHEMA
    return shared_database("recovery_questions", tables)


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    return schema


async def test_an_old_branch_of_this_participant_is_work(database: Database) -> None:
    first, other = [Participant(database, name, apply) for name in ("first", "other")]
    gid = new_gid("coordinator-1", time.time())
    assert not await answer_of(database, first.question(0))
    await first.prepare(gid, time.time() + 10, [Operation(str(uuid4()), "player")])
    assert await first.branches(0)
    assert await answer_of(database, first.question(0))
    assert not await answer_of(database, first.question(60)), "it is still young"
    assert not await answer_of(database, other.question(0)), "it is another's"
    await first.commit(gid)
    assert not await answer_of(database, first.question(0))


async def test_an_old_decision_that_is_not_done_is_work(database: Database) -> None:
    second = Participant(database, "second", apply, decides=True)
    log = DecisionLog(database, second)
    aborted, gid = [new_gid("coordinator-1", time.time()) for _ in range(2)]
    assert await log.resolve(aborted) is Outcome.ABORT
    await second.prepare(gid, time.time() + 10, [Operation(str(uuid4()), "player")], b"operations")
    assert not await answer_of(database, unfinished_question(0)), "it is not decided"
    await second.commit(gid)
    assert await log.unfinished(0)
    assert await answer_of(database, unfinished_question(0))
    assert not await answer_of(database, unfinished_question(60)), "it is still young"
    await log.mark_done([gid])
    assert not await answer_of(database, unfinished_question(0))
