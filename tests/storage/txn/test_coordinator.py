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
from mesh.txn.coordinator import Committed, Coordinator
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import BUSY, No, Vote
from mesh.txn.participant import Participant
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
    return TransactionCluster(
        first, second, Participant(first, "first", apply), Participant(second, "second", apply)
    )


async def test_a_transaction_takes_effect_in_both_databases(cluster: TransactionCluster) -> None:
    wire, asked = Wire(), work()
    answer = await cluster.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert await cluster.applied() == ({asked.id}, {asked.id})
    assert wire.seen == [
        "prepare first",
        "prepare second",
        "decide commit",
        "commit first",
        "commit second",
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


@pytest.mark.parametrize(("strike", "at"), list(itertools.product(STRIKES, range(1, 6))))
async def test_both_databases_agree_after_any_loss_or_crash(
    cluster: TransactionCluster, strike: str, at: int
) -> None:
    asked = work()
    wire = Wire(strike_at=at, strike=strike)
    caller = asyncio.create_task(cluster.group_commit(wire).submit(asked, Deadline.after(3)))
    killed = asyncio.create_task(wire.ended.wait())
    await asyncio.wait({caller, killed}, return_when=asyncio.FIRST_COMPLETED)
    killed.cancel()
    answer = caller.exception() or caller.result() if caller.done() else None
    caller.cancel()
    assert len(wire.seen) >= at, "the strike came"
    await cluster.recover()
    first, second = await cluster.applied()
    assert first == second
    assert await cluster.prepared_count() == 0
    if isinstance(answer, Committed):
        assert first == {asked.id}
    decided = "decide commit" in wire.seen[: at - 1] or (
        wire.seen[at - 1] == "decide commit" and strike.endswith(("answer lost", "after"))
    )
    if decided:
        assert first == {asked.id}, "what was decided is done"
    # The caller retries with the same operation, like a retry with the same idempotency key.
    again = await cluster.group_commit(Wire()).submit(asked, Deadline.after(5))
    assert again == (No("DUPLICATE") if first else Committed("player", "player"))
    assert await cluster.applied() == ({asked.id}, {asked.id})


async def test_a_recoverer_that_is_faster_makes_the_coordinator_start_anew(
    cluster: TransactionCluster,
) -> None:
    class Impatient(Wire):
        async def carry(self, name: str, deliver: Callable[[], object]) -> object:
            if name == "decide commit" and "decide commit" not in self.seen:
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

    class Busy(Local):
        async def prepare(self, *arguments: object) -> Sequence[Vote[object]]:
            votes = next(answers, None)
            return votes if votes else await super().prepare(*arguments)  # type: ignore[arg-type]

    wire, asked = Wire(), work()
    coordinator = Coordinator(
        "coordinator-1",
        Busy("first", cluster.first, wire),
        Local("second", cluster.second, wire),
        WiredLog(cluster.second_database, wire),
    )
    assert await GroupCommit(coordinator).submit(asked, Deadline.after(5)) == Committed(
        "player", "player"
    )
