"""Small batches are prepared on both sides at once, and in turn only with an owner who was refused
a moment ago."""

import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from mesh.deadlines import Deadline
from mesh.failpoints import no_failpoint
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.branches import IN_TURN_SECONDS, MAX_TOGETHER, Branches
from mesh.txn.coordinator import Coordinator
from mesh.txn.local.screening import Screening
from mesh.txn.model import No, new_gid
from mesh.txn.sides import Committed, OperationPair
from tests.storage.conftest import empty
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    WiredFirst,
    WiredSecond,
)


class Crossing(Wire):
    """Notes of each second Prepare whether the first one was still under way."""

    def __init__(self) -> None:
        super().__init__()
        self.were_together: list[bool] = []

    async def carry(self, name: str, deliver: Callable[[], object]) -> object:
        if name == "prepare second":
            self.were_together.append(self.in_flight > 0)
        return await super().carry(name, deliver)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def databases(shared_database: Callable[[str, str], Database]) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("small_first", schema),
        shared_database("small_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    first, second = databases
    await empty(first)
    await empty(second)
    return TransactionCluster(first, second)


class Pulls:
    """A coordinator, and what its batches cost."""

    def __init__(self, cluster: TransactionCluster) -> None:
        self.wire, self.clock, self.restarts = Crossing(), Clock(), list[None]()
        self._coordinator = Coordinator(
            "coordinator-1",
            WiredFirst(cluster.first, self.wire),
            WiredSecond(cluster.second, self.wire),
            timer=self.clock,
            count_restart=lambda: self.restarts.append(None),
        )

    async def run(self, *batch: OperationPair) -> list[bool]:
        """Runs a batch whose operations are refused as they say. Returns of each transaction that
        reached the second participant whether both prepared at once."""
        self.wire.were_together.clear()
        answers = await self._coordinator.run(batch, Deadline.after(5))
        for pair in batch:
            is_refused = "refuse" in (pair.first, pair.second)
            assert answers[pair.id] == (
                No("REFUSED") if is_refused else Committed("player", "player")
            )
        return list(self.wire.were_together)


def of(owner: str, refused_by: str = "") -> OperationPair:
    first, second = ("refuse" if refused_by == side else "player" for side in ("first", "second"))
    return OperationPair(str(uuid4()), owner, first, second)


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_refusal_costs_the_batches_of_other_owners_nothing(
    cluster: TransactionCluster, side: str
) -> None:
    pulls = Pulls(cluster)
    assert await pulls.run(of("poor", refused_by=side)) == [True]
    assert await pulls.run(of("rich"), of("other")) == [True]
    assert await pulls.run(of("rich"), of("poor")) == [False]
    pulls.clock.seconds += IN_TURN_SECONDS
    assert await pulls.run(of("rich"), of("poor")) == [True]


async def test_an_owner_who_is_refused_again_and_again_costs_one_abort(
    cluster: TransactionCluster,
) -> None:
    pulls = Pulls(cluster)
    assert await pulls.run(of("poor", refused_by="first"), of("rich")) == [True, True]
    for _ in range(3):
        pulls.clock.seconds += IN_TURN_SECONDS - 1
        assert await pulls.run(of("poor", refused_by="first"), of("rich")) == [False]
    assert pulls.wire.seen.count("abort first") == 1


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_transaction_that_starts_over_is_counted_whoever_refused(
    cluster: TransactionCluster, side: str
) -> None:
    pulls = Pulls(cluster)
    await pulls.run(of("lone", refused_by=side))
    assert len(pulls.restarts) == 0
    await pulls.run(*[of(f"rich-{number}") for number in range(MAX_TOGETHER - 1)], of("poor", side))
    assert len(pulls.restarts) == 1


async def test_a_bounded_number_of_refused_owners_is_remembered(
    cluster: TransactionCluster,
) -> None:
    wire = Crossing()
    bounded = Branches(
        WiredFirst(cluster.first, wire),
        WiredSecond(cluster.second, wire),
        Screening(),
        lambda: None,
        no_failpoint,
        Clock(),
        max_refused_owners=2,
    )

    async def prepare(pair: OperationPair) -> None:
        gid = new_gid("coordinator-1", time.time())
        await bounded.prepare(gid, [pair], Deadline.after(5))
        await bounded.abort(gid)

    for owner in ("a", "b", "c"):
        await prepare(of(owner, refused_by="second"))
    wire.were_together.clear()
    for owner in ("a", "b", "c"):
        await prepare(of(owner))
    assert wire.were_together == [True, False, False]
