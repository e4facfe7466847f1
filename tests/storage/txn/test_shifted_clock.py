"""Transactions over real databases, of which the second's clock is a minute ahead: it would make
every decision an abort."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded
from mesh.postgres.clock_offset import ClockOffset, DatabaseClockDiffers
from mesh.postgres.database import Database
from mesh.postgres.pulse import Pulse
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Coordinator
from mesh.txn.group_commit import GroupCommit
from mesh.txn.participant import Participant
from proof.postgres_server import PostgresServer
from tests.storage.shifted_clock import shift_clock
from tests.storage.txn.transaction_cluster import (
    TABLE,
    Local,
    TransactionCluster,
    Wire,
    WiredLog,
    apply,
    work,
)

AHEAD_SECONDS = 61.0
NAMES = ("shifted_first", "shifted_second")


@pytest.fixture
async def cluster(postgres_server: PostgresServer) -> AsyncIterator[TransactionCluster]:
    urls = [postgres_server.create_database(name) for name in NAMES]
    schema = branches.SCHEMA + decision_log.SCHEMA + TABLE
    for url in urls:
        admin = Database(url, connection_count=1)
        await admin.autocommit(lambda cursor: cursor.execute(schema))
        if url is urls[1]:
            await admin.autocommit(lambda cursor: shift_clock(cursor, AHEAD_SECONDS))
        admin.close()
    first, second = [Database(url, connection_count=3) for url in urls]
    yield TransactionCluster(
        first, second, Participant(first, "first", apply), Participant(second, "second", apply)
    )
    for name, database in zip(NAMES, (first, second), strict=True):
        database.close()
        postgres_server.drop_database(name)


async def test_a_transaction_is_refused_at_once_and_nothing_is_prepared(
    cluster: TransactionCluster,
) -> None:
    wire = Wire()
    offset = ClockOffset(Pulse(cluster.second_database).beat, CollectorRegistry())
    await offset.measure()
    coordinator = Coordinator(
        "coordinator-1",
        Local("first", cluster.first, wire),
        Local("second", cluster.second, wire),
        WiredLog(cluster.second_database, wire),
        check_clock=offset.check,
    )
    began_at = time.monotonic()
    with pytest.raises(DatabaseClockDiffers):
        await GroupCommit(coordinator).submit(work(), Deadline.after(5))
    assert time.monotonic() - began_at < 2
    assert wire.seen == []


async def test_a_decision_that_becomes_an_abort_is_repeated_with_pauses(
    cluster: TransactionCluster,
) -> None:
    """The clock jumped after the last measurement."""
    wire = Wire()
    with pytest.raises(DeadlineExceeded):
        async with asyncio.timeout(10):
            await cluster.coordinator(wire).run([work()], Deadline.after(1))
    assert 1 <= wire.seen.count("decide commit") <= 14
    assert await cluster.applied() == (set(), set())
    assert await cluster.prepared_count() == 0
