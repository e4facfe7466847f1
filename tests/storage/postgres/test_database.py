import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from greenlet import getcurrent
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted
from mesh.postgres.database import Database, DatabaseAway, LockTimeout
from mesh.postgres.fibers import Fiber
from proof.postgres_server import start_postgres
from tests.storage.asking import is_primary
from tests.storage.holding import held

NO_DESCRIPTOR = 1 << 20
Run = Callable[[Database, Callable[[Cursor], None]], Awaitable[None]]


def one(cursor: Cursor, statement: str) -> object:
    cursor.execute(statement)
    row = cursor.fetchone()
    return row[0] if row else None


@pytest.fixture
async def numbers(database: Database) -> Database:
    await database.autocommit(lambda cursor: cursor.execute("CREATE TABLE numbers (n integer)"))
    return database


async def count(database: Database) -> object:
    return await database.autocommit(lambda cursor: one(cursor, "SELECT count(*) FROM numbers"))


async def until_away(database: Database) -> None:
    """Waits until the server is down: its children serve until they notice its death."""
    async with asyncio.timeout(5):
        while await is_primary(database):
            await asyncio.sleep(0.01)


async def test_a_transaction_that_raises_changes_nothing(numbers: Database) -> None:
    def insert_and_fail(cursor: Cursor) -> None:
        cursor.execute("INSERT INTO numbers VALUES (1)")
        raise LookupError("after the insert")

    with pytest.raises(LookupError):
        await numbers.transaction(insert_and_fail)
    assert await count(numbers) == 0


async def test_a_transaction_that_lost_a_race_is_run_again(numbers: Database) -> None:
    attempts = []

    def lose_twice(cursor: Cursor) -> int:
        attempts.append(1)
        if len(attempts) < 3:
            cursor.execute(
                "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END $$"
            )
        cursor.execute("INSERT INTO numbers VALUES (1)")
        return len(attempts)

    assert await numbers.transaction(lose_twice) == 3
    assert await count(numbers) == 1


@pytest.mark.parametrize("sqlstate", ["deadlock_detected", "serialization_failure"])
@pytest.mark.parametrize(
    ("run", "attempt_count"), [(Database.transaction, 4), (Database.autocommit, 1)]
)
async def test_a_race_that_is_lost_every_time_is_reported_as_such(
    numbers: Database, run: Run, attempt_count: int, sqlstate: str
) -> None:
    attempts = []

    def always_lose(cursor: Cursor) -> None:
        attempts.append(1)
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{sqlstate}'; END $$")

    with pytest.raises(Aborted) as lost:
        await run(numbers, always_lose)
    assert lost.value.reason == "LOST_RACE"
    assert len(attempts) == attempt_count


async def test_a_transaction_left_open_is_not_met_by_the_next_work(numbers: Database) -> None:
    def leave_open(cursor: Cursor) -> None:
        cursor.execute("BEGIN; INSERT INTO numbers VALUES (1)")

    await asyncio.gather(*(numbers.autocommit(leave_open) for _ in range(12)))
    assert await count(numbers) == 0


async def test_connections_that_nobody_needs_are_closed_one_by_one(database_url: str) -> None:
    now = 1000.0
    database = Database(database_url, connection_count=6, clock=lambda: now)
    await asyncio.gather(*(_sleep(database) for _ in range(6)))
    assert await _connection_count(database) == 6
    now += 60
    assert await _connection_count(database) == 6, "they may be needed again"
    now += 1
    for expected in (6, 5, 4, 3, 2, 2, 2):
        assert await _connection_count(database) == expected
    await asyncio.gather(*(_sleep(database) for _ in range(6)))
    assert await _connection_count(database) == 6
    database.close()


async def _sleep(database: Database) -> None:
    await database.autocommit(lambda cursor: cursor.execute("SELECT pg_sleep(0.2)"))


async def _connection_count(database: Database) -> object:
    """How many sessions the server has, once those that ended have gone."""
    await asyncio.sleep(0.2)
    text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    return await database.autocommit(lambda cursor: one(cursor, text))


async def test_a_lock_timeout_is_reported_as_such(numbers: Database) -> None:
    def wait_for_lock(cursor: Cursor) -> None:
        cursor.execute("SET LOCAL lock_timeout = 20; LOCK TABLE numbers")

    async with held(numbers, lambda cursor: cursor.execute("LOCK TABLE numbers")):
        with pytest.raises(LockTimeout):
            await numbers.transaction(wait_for_lock)


async def test_a_database_that_went_and_came_back_is_found_again(tmp_path: Path) -> None:
    server = start_postgres(tmp_path, "mesh")
    database = Database(server.url, connection_count=2)
    assert await is_primary(database)
    server.kill()
    with pytest.raises(DatabaseAway):
        await until_away(database)
    server.restart()
    assert await is_primary(database)
    database.close()
    server.stop()


async def test_connections_that_the_server_ends_leave_no_descriptor_and_no_load(
    database: Database,
) -> None:
    await asyncio.gather(*(database.autocommit(sleep_briefly) for _ in range(6)))
    opened_count = len(os.listdir("/proc/self/fd"))
    end_others = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await database.autocommit(lambda cursor: one(cursor, end_others)) == 5
    used_before = time.process_time()
    await asyncio.sleep(0.3)
    # A reader that stays on an ended socket calls back without a pause.
    assert time.process_time() - used_before < 0.1
    for _ in range(2):
        await asyncio.gather(
            *(database.autocommit(sleep_briefly) for _ in range(6)), return_exceptions=True
        )
    assert len(os.listdir("/proc/self/fd")) <= opened_count
    database.close()
    assert len(os.listdir("/proc/self/fd")) <= opened_count - 12


def sleep_briefly(cursor: Cursor) -> None:
    """Long enough for all others to need a connection of their own."""
    cursor.execute("SELECT pg_sleep(0.05)")


async def test_a_transaction_begins_with_the_message_of_its_first_statement(
    database: Database,
) -> None:
    def statuses(cursor: Cursor) -> list[int]:
        connection = cursor.connection
        before = connection.get_transaction_status()
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("70ms",)
        return [before, connection.get_transaction_status()]

    idle_then_open = [TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS]
    assert await database.transaction(statuses, lock_timeout_ms=70) == idle_then_open
    assert await database.transaction(lambda cursor: "nothing done") == "nothing done"
    status = await database.autocommit(lambda cursor: cursor.connection.get_transaction_status())
    assert status == TRANSACTION_STATUS_IDLE


class Interrupted(BaseException):
    """As KeyboardInterrupt, which ends no test run."""


async def test_work_that_is_interrupted_leaves_its_turn(database_url: str) -> None:
    def interrupt(cursor: Cursor) -> None:
        raise Interrupted

    database = Database(database_url, connection_count=1)
    async with asyncio.timeout(10):
        with pytest.raises(Interrupted):
            await database.autocommit(interrupt)
        assert await is_primary(database)
    database.close()


async def test_work_that_could_not_be_started_leaves_its_turn(database_url: str) -> None:
    database = Database(database_url, connection_count=2)

    def start_another(cursor: Cursor) -> None:
        with pytest.raises(AssertionError, match="must not start another"):
            is_primary(database).send(None)

    for _ in range(3):
        await database.autocommit(start_another)
    database.close()


async def test_a_socket_that_cannot_be_watched_counts_as_lost(database_url: str) -> None:
    def wait_for_nothing(cursor: Cursor) -> None:
        fiber = getcurrent()
        assert isinstance(fiber, Fiber)
        fiber.wait_for(NO_DESCRIPTOR, to_write=False)

    database = Database(database_url, connection_count=1)
    async with asyncio.timeout(10):
        for _ in range(2):
            with pytest.raises(DatabaseAway):
                await database.autocommit(wait_for_nothing)
        assert await is_primary(database)
    database.close()
