"""Transactions over real databases, of which one has a wrong clock. No outcome depends on it."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.model import GidUsed, Operation, Outcome, new_gid
from mesh.txn.sides import Committed
from proof.postgres_server import PostgresServer
from tests.storage.conftest import empty
from tests.storage.shifted_clock import shift_clock
from tests.storage.txn.transaction_cluster import (
    TABLE,
    TransactionCluster,
    Wire,
    run_until_killed,
    work,
)

MINUTE, TWO_DAYS = 61.0, 2 * 24 * 3600.0
NAMES = ("shifted_first", "shifted_second")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((side, seconds), id=f"{side} {seconds:+.0f} s")
        for side in NAMES
        for seconds in (-TWO_DAYS, -MINUTE, MINUTE, TWO_DAYS)
    ],
)
def databases(
    request: pytest.FixtureRequest, postgres_server: PostgresServer
) -> Iterator[tuple[Database, Database]]:
    """Two databases, of which one has a shifted clock."""
    side, seconds = request.param
    schema = branches.SCHEMA + decision_log.SCHEMA + TABLE
    made = []
    for name in NAMES:
        admin = Database(postgres_server.create_database(name), connection_count=3)
        if name == side:
            asyncio.run(admin.autocommit(lambda cursor: shift_clock(cursor, seconds)))
        # The columns' defaults are by the shifted clock: they are made after the shift.
        asyncio.run(admin.autocommit(lambda cursor: cursor.execute(schema)))
        made.append(admin)
    yield made[0], made[1]
    for name, database in zip(NAMES, made, strict=True):
        database.close()
        postgres_server.drop_database(name)


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> TransactionCluster:
    for database in databases:
        await empty(database)
    return TransactionCluster(*databases)


async def offset_seconds(database: Database) -> float:
    """By the rows of tx_branch."""

    def select(cursor: Cursor) -> float:
        cursor.execute("SELECT extract(epoch FROM min(created_at))::float8 FROM tx_branch")
        (at,) = cursor.fetchone() or (0.0,)
        return float(at) - time.time()

    return await database.autocommit(select)


async def decide(cluster: TransactionCluster) -> str:
    """Commits a new transaction in the second database, which is the decision."""
    gid = new_gid("coordinator-1", time.time())
    operation = Operation(work().id, "player")
    await cluster.first.prepare(gid, time.time() + 10, [operation])
    await cluster.second.prepare(gid, time.time() + 10, [operation], b"debits")
    await cluster.second.commit(gid)
    return gid


async def clean_up(cluster: TransactionCluster) -> None:
    before = cluster.first.forgettable_before()
    open_gids = await cluster.decisions.open_gids()
    for side in (cluster.first, cluster.second):
        await side.forget_old_gids(before, open_gids)


async def test_transactions_go_on(cluster: TransactionCluster) -> None:
    wire, asked = Wire(), work()
    answer = await cluster.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert await cluster.applied() == ({asked.id}, {asked.id})
    offsets = [
        abs(await offset_seconds(database))
        for database in (cluster.first_database, cluster.second_database)
    ]
    assert max(offsets) > MINUTE / 2, "one clock is wrong"


@pytest.mark.parametrize("killed_at", [3, 4], ids=["before the decision", "after the decision"])
async def test_recovery_ends_what_a_dead_coordinator_left(
    cluster: TransactionCluster, killed_at: int
) -> None:
    wire, asked = Wire(strike_at=killed_at, strike="ended before"), work()
    running = asyncio.create_task(cluster.coordinator(wire).run([asked], Deadline.after(5)))
    await run_until_killed(running, wire)
    await cluster.recover()
    expected = {asked.id} if "commit second" in wire.seen[: killed_at - 1] else set()
    assert await cluster.applied() == (expected, expected)
    assert await cluster.prepared_count() == 0


async def test_the_cleanup_never_forgets_an_open_decision(cluster: TransactionCluster) -> None:
    gid = await decide(cluster)
    await cluster.first.commit(gid)
    await clean_up(cluster)
    assert await cluster.decisions.resolve(gid) is Outcome.COMMIT
    (told,) = await cluster.decisions.list_decisions([])
    assert (told.gid, told.outcome, told.is_open) == (gid, Outcome.COMMIT, True)
    await cluster.first.commit(gid)
    await cluster.decision_recovery().run_once()
    assert await cluster.decisions.open_gids() == []
    assert await cluster.prepared_count() == 0


async def test_the_cleanup_keeps_a_tombstone_that_is_young(cluster: TransactionCluster) -> None:
    gid = new_gid("coordinator-1", time.time())
    assert await cluster.decisions.resolve(gid) is Outcome.ABORT
    await cluster.first.abort(gid)
    await clean_up(cluster)
    for side, *kept in ((cluster.first,), (cluster.second, b"debits")):
        with pytest.raises(GidUsed):
            await side.prepare(gid, time.time() + 10, [Operation(work().id, "player")], *kept)
