"""The coordinator's queue and its batches, over two real databases."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, Internal, ResourceExhausted
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import No, Vote
from mesh.txn.sides import Committed, OperationPair
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    WiredFirst,
    hold_gid,
    many,
    work,
)


@pytest.fixture
def databases(shared_database: MakeDatabase) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("first_side", schema),
        shared_database("second_side", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    first, second = databases
    await empty(first)
    await empty(second)
    return TransactionCluster(first, second)


async def test_work_of_one_player_is_done_one_after_another(cluster: TransactionCluster) -> None:
    running, most = 0, 0

    class Counting(WiredFirst):
        async def prepare(self, *arguments: object) -> Sequence[Vote[object]]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            return await super().prepare(*arguments)  # type: ignore[arg-type]

        async def commit(self, gid: str, deadline: Deadline) -> None:
            nonlocal running
            await super().commit(gid, deadline)
            running -= 1

    wire = Wire()
    group_commit = GroupCommit(cluster.coordinator(wire, Counting(cluster.first, wire)))
    answers = await asyncio.gather(
        *(group_commit.submit(work(), Deadline.after(10)) for _ in range(8))
    )
    assert all(isinstance(answer, Committed) for answer in answers)
    assert most == 1


async def test_a_caller_that_goes_away_stops_nothing(cluster: TransactionCluster) -> None:
    asked = work()
    wire = Wire()
    group_commit = cluster.group_commit(wire)
    caller = asyncio.create_task(group_commit.submit(asked, Deadline.after(5)))
    while not wire.seen:
        await asyncio.sleep(0)
    caller.cancel()
    async with asyncio.timeout(5):
        while await cluster.applied() != ({asked.id}, {asked.id}):
            await asyncio.sleep(0.01)
    assert await cluster.prepared_count() == 0


async def test_a_caller_that_goes_away_before_its_turn_costs_nothing(
    cluster: TransactionCluster,
) -> None:
    wire, asked = Wire(), work()
    group_commit = cluster.group_commit(wire)
    caller = asyncio.create_task(group_commit.submit(asked, Deadline.after(5)))
    await asyncio.sleep(0)
    caller.cancel()
    other = OperationPair(str(uuid4()), "other", "other", "other")
    assert isinstance(await group_commit.submit(other, Deadline.after(5)), Committed)
    assert await cluster.applied() == ({other.id}, {other.id})


async def test_waiting_operations_share_a_batch(cluster: TransactionCluster) -> None:
    wire = Wire()
    group_commit = cluster.group_commit(wire)
    asked = many(300)
    answers = await asyncio.gather(*(group_commit.submit(one, Deadline.after(10)) for one in asked))
    assert all(isinstance(answer, Committed) for answer in answers)
    assert wire.seen.count("prepare first") == 2, "256 and the rest"
    ids = {one.id for one in asked}
    assert await cluster.applied() == (ids, ids)


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_refused_work_fails_no_neighbour(cluster: TransactionCluster, side: str) -> None:
    group_commit = cluster.group_commit(Wire())
    good = many(20)
    bad = OperationPair(str(uuid4()), "bad", **({"first": "x", "second": "x"} | {side: "refuse"}))
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in [*good[:10], bad, *good[10:]])
    )
    assert answers.pop(10) == No("REFUSED")
    assert all(isinstance(answer, Committed) for answer in answers)
    ids = {one.id for one in good}
    assert await cluster.applied() == (ids, ids)
    assert await cluster.prepared_count() == 0


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_poisonous_work_is_found_and_fails_alone(
    cluster: TransactionCluster, side: str
) -> None:
    group_commit = cluster.group_commit(Wire())
    good = many(20)
    poison = {"first": "x", "second": "x"} | {side: "a NUL that PostgreSQL refuses: \0"}
    bad = OperationPair(str(uuid4()), "bad", **poison)
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in [*good[:10], bad, *good[10:]]),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(10), Internal)
    assert all(isinstance(answer, Committed) for answer in answers)
    ids = {one.id for one in good}
    assert await cluster.applied() == (ids, ids)
    assert await cluster.prepared_count() == 0


async def test_too_much_work_is_refused_at_once(cluster: TransactionCluster) -> None:
    group_commit = GroupCommit(cluster.coordinator(Wire()), max_waiting=8)
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in many(12)), return_exceptions=True
    )
    assert sum(isinstance(answer, Committed) for answer in answers) == 8
    refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
    assert len(refused) == 4
    assert refused[0].retry_after_seconds
    assert isinstance(await group_commit.submit(work(), Deadline.after(5)), Committed)


async def test_one_player_cannot_fill_the_queue(cluster: TransactionCluster) -> None:
    group_commit = cluster.group_commit(Wire())
    answers = await asyncio.gather(
        *(group_commit.submit(work(), Deadline.after(20)) for _ in range(130)),
        return_exceptions=True,
    )
    assert [isinstance(answer, ResourceExhausted) for answer in answers[128:]] == [True, True]
    assert all(isinstance(answer, Committed) for answer in answers[:128])


async def test_work_whose_deadline_passed_in_the_queue_is_not_begun(
    cluster: TransactionCluster,
) -> None:
    wire = Wire()
    with pytest.raises(DeadlineExceeded):
        await cluster.group_commit(wire).submit(work(), Deadline.after(0))
    assert wire.seen == []


async def test_a_branch_that_cannot_be_settled_holds_up_no_other(
    cluster: TransactionCluster,
) -> None:
    for _ in range(2):
        wire = Wire(strike_at=2, strike="ended before")
        caller = asyncio.create_task(cluster.group_commit(wire).submit(work(), Deadline.after(3)))
        await wire.ended.wait()
        caller.cancel()
    stuck, _ = await cluster.first.branches(0)
    await hold_gid(cluster.second_database, stuck.gid)
    await cluster.branch_recovery(follows=True).run_once()
    assert await cluster.first.branches(0) == [stuck]
