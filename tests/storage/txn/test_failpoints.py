"""Every failpoint of the protocol is reached, and an error at it is survived."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from mesh.deadlines import Deadline
from mesh.errors import MeshError, Unavailable
from mesh.failpoints import Failpoint
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import failpoints
from mesh.txn import participant as branches
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import (
    IN_TURN,
    TABLE,
    TransactionCluster,
    Wire,
    many,
    run_until_killed,
    work,
)

POINTS = (
    *failpoints.of_participant("first"),
    *failpoints.of_participant("second"),
    *failpoints.OF_A_COORDINATOR,
    *failpoints.OF_BRANCH_RECOVERY,
    *failpoints.OF_DECISION_RECOVERY,
)
DECISION, FIRST_COMMIT = 3, 4
"""The numbers of these messages in a transaction that goes well."""

Build = Callable[[Failpoint], TransactionCluster]


@pytest.fixture
def databases(shared_database: MakeDatabase) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("failing_first", schema),
        shared_database("failing_second", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def build(databases: tuple[Database, Database]) -> Build:
    """Makes a cluster over empty databases; all its parts call the given failpoint."""
    first, second = databases
    await empty(first)
    await empty(second)
    return lambda failpoint: TransactionCluster(first, second, failpoint)


async def pass_every_point(cluster: TransactionCluster) -> None:
    """Runs a transaction that succeeds, one in turn, one that is refused, and for each outcome one
    that recovery ends. A failure is left to the next round of recovery."""
    for strike_at in (0, DECISION, FIRST_COMMIT):
        wire = Wire(strike_at=strike_at, strike="ended before")
        run = cluster.coordinator(wire).run([work()], Deadline.after(0.3))
        await run_until_killed(asyncio.create_task(run), wire)
        with contextlib.suppress(MeshError):
            await cluster.recover()
    with contextlib.suppress(MeshError):
        await cluster.coordinator(Wire()).run(many(IN_TURN), Deadline.after(0.3))
    with contextlib.suppress(MeshError):
        await cluster.coordinator(Wire()).run([work(second="refuse")], Deadline.after(0.3))


async def test_every_point_is_passed(build: Build) -> None:
    passed: set[str] = set()
    await pass_every_point(build(passed.add))
    assert passed == set(POINTS)


@pytest.mark.parametrize("failing", POINTS)
async def test_an_error_at_any_point_leaves_both_databases_alike(
    build: Build, failing: str
) -> None:
    was_raised = False

    def fail_once(point: str) -> None:
        nonlocal was_raised
        if point == failing and not was_raised:
            was_raised = True
            raise Unavailable("what was asked here failed")

    cluster = build(fail_once)
    await pass_every_point(cluster)
    assert was_raised
    await cluster.recover()
    first, second = await cluster.applied()
    assert first == second
    assert await cluster.prepared_count() == 0
