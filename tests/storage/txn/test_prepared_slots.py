"""PostgreSQL's limit of prepared transactions (max_prepared_transactions).

Here the limit is two. When it is reached, work is refused at once with a clear error. When a
slot is free again, work continues without intervention.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import Code
from mesh.postgres.database import Database
from mesh.status import from_wire, to_status
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.model import NoPreparedSlot, Operation, new_gid
from mesh.txn.sides import Committed
from proof.postgres_server import PostgresServer, start_postgres
from tests.storage.conftest import empty
from tests.storage.txn.transaction_cluster import TABLE, TransactionCluster, Wire, many, work

SLOTS = 2
AT_ONCE_SECONDS = 2.0


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server with just enough slots for one transaction over both databases."""
    settings = {"max_prepared_transactions": str(SLOTS)}
    server = start_postgres(tmp_path_factory.mktemp("slots"), "others", settings=settings)
    schema = branches.SCHEMA + TABLE + decision_log.SCHEMA
    for name in ("first", "second"):
        connection = psycopg2.connect(server.create_database(name))
        with connection, connection.cursor() as cursor:
            cursor.execute(schema)
        connection.close()
    yield server
    server.stop()


@pytest.fixture
async def cluster(small_server: PostgresServer) -> AsyncIterator[TransactionCluster]:
    first, second = (
        Database(small_server.cluster.superuser_url_of(name), connection_count=4)
        for name in ("first", "second")
    )
    await empty(first)
    await empty(second)
    yield TransactionCluster(first, second)
    first.close()
    second.close()


@pytest.fixture
def others(small_server: PostgresServer) -> Iterator[Connection]:
    """A foreign connection to the server; its prepared transactions are rolled back at the end."""
    connection = psycopg2.connect(small_server.url)
    connection.autocommit = True
    yield connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (name,) in cursor.fetchall():
            cursor.execute("ROLLBACK PREPARED %s", (name,))
    connection.close()


def occupy(others: Connection, count: int) -> None:
    with others.cursor() as cursor:
        for number in range(count):
            cursor.execute("BEGIN; SELECT pg_current_xact_id()")
            cursor.execute("PREPARE TRANSACTION %s", (f"somebody else's {number}",))
            assert cursor.statusmessage == "PREPARE TRANSACTION"


def free(others: Connection, count: int) -> None:
    with others.cursor() as cursor:
        for number in range(count):
            cursor.execute("ROLLBACK PREPARED %s", (f"somebody else's {number}",))


async def prepare(cluster: TransactionCluster) -> str:
    """Prepares a new operation on the first side, and returns its gid."""
    gid = new_gid("coordinator-1", time.time())
    operation = Operation(work().id, "player")
    await cluster.first.prepare(gid, time.time() + 10, [operation])
    return gid


async def test_a_prepare_without_a_slot_is_refused_and_leaves_nothing(
    cluster: TransactionCluster, others: Connection
) -> None:
    occupy(others, SLOTS)
    with pytest.raises(NoPreparedSlot) as refused:
        await prepare(cluster)
    error = refused.value
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "NO_PREPARED_SLOT")
    assert error.retryable
    assert error.retry_after_seconds
    assert await cluster.first.branches(0) == []
    free(others, 1)
    gid = await prepare(cluster)
    assert [branch.gid for branch in await cluster.first.branches(0)] == [gid]
    await cluster.first.abort(gid)


def test_the_hint_when_to_come_back_crosses_the_wire() -> None:
    status = to_status(NoPreparedSlot("Full.", retry_after_seconds=1.0))
    read = from_wire(status.code, status.message, status.SerializeToString())
    assert (read.code, read.reason) == (Code.RESOURCE_EXHAUSTED, "NO_PREPARED_SLOT")
    assert read.retry_after_seconds == 1.0


async def test_a_gid_that_found_no_slot_may_be_used(
    cluster: TransactionCluster, others: Connection
) -> None:
    """Its row in tx_branch was rolled back too, so the gid was not consumed."""
    occupy(others, SLOTS)
    gid = new_gid("coordinator-1", time.time())
    operation = Operation(work().id, "player")
    with pytest.raises(NoPreparedSlot):
        await cluster.first.prepare(gid, time.time() + 10, [operation])
    free(others, 1)
    await cluster.first.prepare(gid, time.time() + 10, [operation])
    await cluster.first.commit(gid)
    assert await cluster.applied() == ({operation.id}, set())


@pytest.mark.parametrize(
    "taken", [1, 2], ids=["the second side finds none", "the first side finds none"]
)
async def test_all_waiters_are_refused_at_once_and_work_continues_with_a_free_slot(
    cluster: TransactionCluster, others: Connection, taken: int
) -> None:
    occupy(others, taken)
    wire = Wire()
    group_commit = cluster.group_commit(wire)
    waiting = many(40)
    began_at = time.monotonic()
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in waiting), return_exceptions=True
    )
    assert time.monotonic() - began_at < AT_ONCE_SECONDS
    assert [type(answer) for answer in answers] == [NoPreparedSlot] * len(waiting)
    # They were refused together: no single operation was the cause, so the batch was not split.
    assert wire.seen.count("prepare first") == 1
    assert "commit second" not in wire.seen
    assert await cluster.prepared_count() == 0
    assert await cluster.applied() == (set(), set())

    free(others, taken)
    # The same operations with the same group commit, because a refusal changed nothing.
    again = await asyncio.gather(*(group_commit.submit(one, Deadline.after(10)) for one in waiting))
    assert all(isinstance(answer, Committed) for answer in again)
    ids = {one.id for one in waiting}
    assert await cluster.applied() == (ids, ids)
    assert await cluster.prepared_count() == 0


async def test_recovery_settles_the_branches_that_hold_the_slots(
    cluster: TransactionCluster,
) -> None:
    """Recovery frees the slots of branches whose coordinator died."""
    for _ in range(SLOTS):
        await prepare(cluster)
    with pytest.raises(NoPreparedSlot):
        await prepare(cluster)
    await cluster.recover()
    assert await cluster.prepared_count() == 0
    assert isinstance(
        await cluster.group_commit(Wire()).submit(work(), Deadline.after(5)), Committed
    )
