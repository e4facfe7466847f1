"""Whole transactions over two real databases, interrupted at every message.

The interruption is at the coordinator's interface: a message or its answer is lost, or the
coordinator ends. Then recovery runs, and both databases must agree.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import BUSY, No, Vote
from mesh.txn.sides import Committed
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    IN_TURN,
    TABLE,
    TransactionCluster,
    Wire,
    WiredFirst,
    many,
    run_until_killed,
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


async def test_a_transaction_takes_effect_in_both_databases(cluster: TransactionCluster) -> None:
    wire, asked = Wire(), work()
    answer = await cluster.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert await cluster.applied() == ({asked.id}, {asked.id})
    assert wire.seen == [
        "prepare first",
        "prepare second",
        "commit second",
        "commit first",
    ]


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_refusal_of_either_side_changes_nothing(
    cluster: TransactionCluster, side: str
) -> None:
    asked = work(**{side: "refuse"})
    answer = await cluster.group_commit(Wire()).submit(asked, Deadline.after(5))
    assert answer == No("REFUSED")
    assert await cluster.applied() == (set(), set())
    assert await cluster.prepared_count() == 0


STRIKES = ["message lost", "answer lost", "ended before", "ended after"]


@pytest.mark.parametrize("count", [1, IN_TURN])
@pytest.mark.parametrize(("strike", "at"), list(itertools.product(STRIKES, range(1, 5))))
async def test_both_databases_agree_after_any_loss_or_crash(
    cluster: TransactionCluster, strike: str, at: int, count: int
) -> None:
    batch = many(count)
    ids = {pair.id for pair in batch}
    wire = Wire(strike_at=at, strike=strike)
    running = asyncio.create_task(cluster.coordinator(wire).run(batch, Deadline.after(3)))
    answers = await run_until_killed(running, wire)
    assert len(wire.seen) >= at, "the strike came"
    await cluster.recover()
    first, second = await cluster.applied()
    assert first == second
    assert await cluster.prepared_count() == 0
    assert await cluster.decisions.open_gids() == []
    is_decided = "commit second" in wire.seen[: at - 1] or (
        wire.seen[at - 1] == "commit second" and strike in ("answer lost", "ended after")
    )
    if answers is not None or is_decided:
        assert first == ids, "what was decided, or answered, is done"
    # The caller retries with the same operations, like retries with the same idempotency keys.
    again = await cluster.coordinator(Wire()).run(batch, Deadline.after(5))
    expected = No("DUPLICATE") if first else Committed("player", "player")
    assert again == dict.fromkeys(ids, expected)
    assert await cluster.applied() == (ids, ids)


async def test_a_recoverer_that_is_faster_makes_the_coordinator_start_anew(
    cluster: TransactionCluster,
) -> None:
    class Impatient(Wire):
        async def carry(self, name: str, deliver: Callable[[], object]) -> object:
            if name == "commit second" and "commit second" not in self.seen:
                await cluster.recover()
            return await super().carry(name, deliver)

    asked = work()
    wire = Impatient()
    answer = await cluster.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert wire.seen.count("prepare first") == 2
    assert await cluster.applied() == ({asked.id}, {asked.id})
    assert await cluster.prepared_count() == 0


async def test_a_busy_participant_is_asked_again_until_the_deadline(
    cluster: TransactionCluster,
) -> None:
    answers = iter([[No(BUSY)], [No(BUSY)]])

    class Busy(WiredFirst):
        async def prepare(self, *arguments: object) -> Sequence[Vote[object]]:
            votes = next(answers, None)
            return votes if votes else await super().prepare(*arguments)  # type: ignore[arg-type]

    wire, asked = Wire(), work()
    coordinator = cluster.coordinator(wire, Busy(cluster.first, wire))
    assert await GroupCommit(coordinator).submit(asked, Deadline.after(5)) == Committed(
        "player", "player"
    )


async def test_the_first_branch_stays_prepared_until_the_second_can_no_longer_be_committed(
    cluster: TransactionCluster,
) -> None:
    """The Abort of the second is lost, so a copy of its Prepare might still come."""
    wire = Wire(strike_at=3, strike="message lost")
    answers = await cluster.coordinator(wire).run([work(second="refuse")], Deadline.after(5))
    assert list(answers.values()) == [No("REFUSED")]
    assert wire.seen == ["prepare first", "prepare second", "abort second"]
    assert len(await cluster.first.branches(0)) == 1
    await cluster.recover()
    assert await cluster.prepared_count() == 0
    assert await cluster.applied() == (set(), set())
