"""One participant on a real PostgreSQL: each of its possible answers."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import psycopg2
import pytest
from google.protobuf.empty_pb2 import Empty
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted, InvalidArgument
from mesh.postgres.database import Database, DatabaseAway, LockTimeout
from mesh.postgres.missing_rows import MAX_BRANCH_ATTEMPTS, RowsMissing
from mesh.postgres.pipelined_cursor import execute_soon
from mesh.txn import decisions as decision_log
from mesh.txn.model import (
    AlreadyCommitted,
    BranchLost,
    GidExpired,
    GidUsed,
    No,
    Operation,
    Vote,
    Yes,
    new_gid,
)
from mesh.txn.participant import SCHEMA, Participant
from mesh.txn.rpc import ParticipantRpc
from protos.tx.v1 import participant_pb2

ODD = "ODD"


def insert_even(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
    votes: list[Vote[int]] = []
    for operation in operations:
        if operation.body % 2:
            votes.append(No(ODD))
            continue
        cursor.execute("INSERT INTO numbers VALUES (%s)", (operation.body,))
        votes.append(Yes(operation.body * 10))
    return votes


@pytest.fixture
async def participant(database: Database) -> Participant[int, int]:
    await database.autocommit(
        lambda cursor: cursor.execute(SCHEMA + "CREATE TABLE numbers (n integer CHECK (n < 100))")
    )
    return Participant(database, "numbers", insert_even)


def gid(age_seconds: float = 0.0) -> str:
    return new_gid("coordinator-1", time.time() - age_seconds)


def operations(*numbers: int) -> list[Operation[int]]:
    return [Operation(f"operation-{number}", number) for number in numbers]


def in_a_moment() -> float:
    return time.time() + 10


async def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    def select(cursor: Cursor) -> list[tuple[object, ...]]:
        cursor.execute(statement)
        return cursor.fetchall()

    return await database.autocommit(select)


async def numbers_in(database: Database) -> list[object]:
    return [n for (n,) in await rows(database, "SELECT n FROM numbers ORDER BY n")]


async def test_a_committed_branch_takes_effect_without_its_refused_operations(
    participant: Participant[int, int], database: Database
) -> None:
    name = gid()
    votes = await participant.prepare(name, in_a_moment(), operations(2, 3, 4))
    assert votes == [Yes(20), No(ODD), Yes(40)]
    assert await numbers_in(database) == []
    assert [branch.gid for branch in await participant.branches(0)] == [name]
    await participant.commit(name)
    await participant.commit(name)
    assert await numbers_in(database) == [2, 4]
    assert await participant.branches(0) == []


async def test_an_aborted_branch_leaves_nothing(
    participant: Participant[int, int], database: Database
) -> None:
    name = gid()
    await participant.prepare(name, in_a_moment(), operations(2))
    await participant.abort(name)
    await participant.abort(name)
    assert await numbers_in(database) == []
    assert await participant.branches(0) == []


async def test_a_prepare_that_arrives_after_its_abort_is_refused(
    participant: Participant[int, int],
) -> None:
    name = gid()
    await participant.abort(name)
    with pytest.raises(GidUsed):
        await participant.prepare(name, in_a_moment(), operations(2))


@pytest.mark.parametrize("ending", ["prepared", "committed", "aborted"])
async def test_a_gid_can_be_used_only_once(participant: Participant[int, int], ending: str) -> None:
    name = gid()
    await participant.prepare(name, in_a_moment(), operations(2))
    if ending == "committed":
        await participant.commit(name)
    elif ending == "aborted":
        await participant.abort(name)
    # While the first is prepared its row is locked: the second waits, and times out.
    with pytest.raises((GidUsed, LockTimeout)):
        await participant.prepare(name, in_a_moment(), operations(4))


async def test_an_old_gid_is_refused(participant: Participant[int, int]) -> None:
    with pytest.raises(GidExpired):
        await participant.prepare(gid(age_seconds=31), in_a_moment(), operations(2))


async def test_a_prepare_whose_coordinator_gave_up_is_refused(
    participant: Participant[int, int],
) -> None:
    with pytest.raises(GidExpired):
        await participant.prepare(gid(), time.time() - 0.001, operations(2))


@pytest.mark.parametrize("name", ["", "no gid", "a:1:b", "x" * 200, "c:1700000000000:\0"])
async def test_an_invalid_gid_is_refused(participant: Participant[int, int], name: str) -> None:
    with pytest.raises(InvalidArgument):
        await participant.prepare(name, in_a_moment(), operations(2))


async def test_refusing_all_leaves_no_branch_and_the_gid_unused(
    participant: Participant[int, int], database: Database
) -> None:
    name = gid()
    assert await participant.prepare(name, in_a_moment(), operations(1, 3)) == [No(ODD), No(ODD)]
    assert await participant.branches(0) == []
    await participant.prepare(name, in_a_moment(), operations(2))
    await participant.commit(name)
    assert await numbers_in(database) == [2]


async def test_sql_that_fails_leaves_no_branch(
    participant: Participant[int, int], database: Database
) -> None:
    with pytest.raises(Exception, match="numbers_n_check"):
        await participant.prepare(gid(), in_a_moment(), operations(2, 1000))
    assert await participant.branches(0) == []
    assert await numbers_in(database) == []


async def test_a_commit_of_an_unknown_branch_is_an_alarm(
    participant: Participant[int, int],
) -> None:
    with pytest.raises(BranchLost):
        await participant.commit(gid())


async def test_a_commit_of_an_aborted_branch_is_an_alarm(
    participant: Participant[int, int],
) -> None:
    name = gid()
    await participant.prepare(name, in_a_moment(), operations(2))
    await participant.abort(name)
    with pytest.raises(BranchLost):
        await participant.commit(name)


async def test_an_abort_of_a_committed_branch_changes_nothing_and_says_so(
    participant: Participant[int, int], database: Database
) -> None:
    name = gid()
    await participant.prepare(name, in_a_moment(), operations(2))
    await participant.commit(name)
    with pytest.raises(AlreadyCommitted):
        await participant.abort(name)
    assert await numbers_in(database) == [2]


async def test_branches_of_others_and_young_ones_are_not_listed(
    participant: Participant[int, int], database: Database
) -> None:
    other = Participant(database, "others", insert_even)
    await other.prepare(gid(), in_a_moment(), operations(2))
    assert await participant.branches(0) == []
    await participant.prepare(gid(), in_a_moment(), operations(4))
    assert len(await participant.branches(0)) == 1
    assert await participant.branches(60) == []


async def test_a_branch_begins_anew_once_its_missing_rows_are_made(database: Database) -> None:
    await database.autocommit(
        lambda cursor: cursor.execute(SCHEMA + "CREATE TABLE counters (n integer PRIMARY KEY)")
    )

    def lock_or_miss(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
        cursor.execute("SELECT n FROM counters FOR UPDATE")
        if cursor.fetchone() is None:
            raise RowsMissing(lambda cursor: cursor.execute("INSERT INTO counters VALUES (1)"))
        return [Yes(operation.body) for operation in operations]

    participant = Participant(database, "counters", lock_or_miss)
    name = gid()
    assert await participant.prepare(name, in_a_moment(), operations(2)) == [Yes(2)]
    # The row is committed while the branch is only prepared.
    assert await rows(database, "SELECT n FROM counters") == [(1,)]
    await participant.abort(name)
    assert await rows(database, "SELECT n FROM counters") == [(1,)]


async def test_a_branch_whose_rows_never_come_is_aborted_and_leaves_its_gid(
    database: Database,
) -> None:
    await database.autocommit(lambda cursor: cursor.execute(SCHEMA))
    made: list[str] = []

    def miss(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
        cursor.execute("SELECT 1")
        raise RowsMissing(lambda cursor: made.append("row"))

    participant = Participant(database, "counters", miss)
    with pytest.raises(Aborted) as raised:
        await participant.prepare(gid(), in_a_moment(), operations(2))
    assert raised.value.reason == "ROWS_MISSING"
    assert len(made) == MAX_BRANCH_ATTEMPTS
    assert await rows(database, "SELECT gid FROM tx_branch") == []


async def test_only_a_branch_that_decides_keeps_first_operations_and_never_lacks_them(
    participant: Participant[int, int], database: Database
) -> None:
    """A branch without them could be committed, and its transaction never be finished."""
    deciding = Participant(database, "numbers", insert_even, decides=True)
    for side, *kept in ((participant, b"debits"), (deciding,)):
        with pytest.raises(InvalidArgument, match="first_operations"):
            await side.prepare(gid(), in_a_moment(), operations(2), *kept)
    assert await participant.branches(0) == []


@pytest.mark.parametrize(
    ("first_ids", "kept_count"), [(["a", "b"], 1), (["a"], 0), ([], 0), (["b", "a"], 0)]
)
async def test_a_remote_coordinator_sends_the_first_operations_of_the_same_ids(
    participant: Participant[int, int], database: Database, first_ids: list[str], kept_count: int
) -> None:
    await database.autocommit(lambda cursor: cursor.execute(decision_log.SCHEMA))
    deciding = Participant(database, "numbers", insert_even, decides=True)
    rpc = ParticipantRpc(deciding, lambda message: int(message.value), lambda result: Empty())
    written = participant_pb2.PrepareRequest(gid=gid())
    written.expires_at.FromSeconds(int(in_a_moment()))
    for operation_id, number in (("a", b"2"), ("b", b"4")):
        written.operations.add(id=operation_id).body.value = number
    written.first_operations.SetInParent()
    for operation_id in first_ids:
        written.first_operations.operations.add(id=operation_id)
    call: Any = None
    with nullcontext() if kept_count else pytest.raises(InvalidArgument, match="first_operations"):
        await rpc.prepare(written, call)
    if kept_count:
        await deciding.commit(written.gid)
    kept: list[Any] = await rows(database, "SELECT first_operations FROM tx_decision")
    expected = [written.first_operations.SerializeToString()] * kept_count
    assert [bytes(each) for (each,) in kept] == expected


OUT_OF_MEMORY = "DO $$ BEGIN RAISE 'out of memory' USING ERRCODE = '53200'; END $$"


def insert_soon(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
    """Leaves its last statement to go with the next."""
    cursor.execute("SELECT")
    for operation in operations:
        execute_soon(cursor, "INSERT INTO numbers VALUES (%s)", (operation.body,))
    return [Yes(operation.body) for operation in operations]


async def test_an_error_of_the_last_statement_is_not_taken_for_one_of_prepare(
    participant: Participant[int, int], database: Database
) -> None:
    def run_out_of_memory(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
        votes = insert_soon(cursor, operations)
        execute_soon(cursor, OUT_OF_MEMORY, ())
        return votes

    failing = Participant(database, "numbers", run_out_of_memory)
    with pytest.raises(DatabaseAway):
        await failing.prepare(gid(), in_a_moment(), operations(2))
    assert await participant.branches(0) == []


async def test_the_operations_are_applied_when_their_failpoint_is_passed(
    participant: Participant[int, int], database: Database
) -> None:
    """A statement that fails does so before the point, and no point is passed after it."""
    passed: list[str] = []
    failing = Participant(database, "numbers", insert_soon, failpoint=passed.append)
    with pytest.raises(psycopg2.errors.CheckViolation):
        await failing.prepare(gid(), in_a_moment(), operations(1000))
    assert passed == ["numbers.before_branch"]
    await failing.prepare(gid(), in_a_moment(), operations(2))
    assert passed[-2:] == ["numbers.before_prepare", "numbers.after_prepare"]


async def test_without_faults_the_last_statement_and_prepare_are_one_message(
    participant: Participant[int, int], database: Database
) -> None:
    sent: list[object] = []

    def insert_and_look(cursor: Cursor, operations: Sequence[Operation[int]]) -> list[Vote[int]]:
        votes = insert_soon(cursor, operations)
        sent.append(cursor)
        return votes

    name = gid()
    await Participant(database, "numbers", insert_and_look).prepare(
        name, in_a_moment(), operations(2)
    )
    (cursor,) = sent
    assert isinstance(cursor, Cursor)
    assert b"INSERT INTO numbers VALUES (2);PREPARE TRANSACTION" in (cursor.query or b"")
    await participant.commit(name)
    assert await numbers_in(database) == [2]
