"""The choice of the primary host, and the delay by a frozen server."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers.ports import free_ports
from mesh.postgres.database import Database, DatabaseAway
from proof.postgres_server import PostgresServer, start_postgres
from tests.storage.asking import is_primary


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    server = start_postgres(tmp_path, "mesh")
    yield server
    server.kill()


def url_of(server: PostgresServer, *ports_before: int) -> str:
    """A URL with the server as the last of several hosts."""
    cluster = server.cluster
    hosts = ",".join(f"127.0.0.1:{port}" for port in (*ports_before, cluster.port))
    return f"{server.url.split('@')[0]}@{hosts}/{cluster.database}"


def rows(statement: str, cursor: Cursor) -> list[tuple[int]]:
    cursor.execute(statement)
    return cursor.fetchall()


async def test_a_host_that_refuses_is_passed_over(server: PostgresServer) -> None:
    nobody = next(free_ports(random.Random()))
    database = Database(url_of(server, nobody), connection_count=2)
    assert await is_primary(database)
    database.close()


async def test_a_host_that_never_answers_costs_its_time_once(
    server: PostgresServer,
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    database = Database(url_of(server, port), connection_count=2, connect_timeout_seconds=0.2)
    assert await is_primary(database)
    began_at = time.monotonic()
    await asyncio.gather(is_primary(database), is_primary(database))
    assert time.monotonic() - began_at < 0.2
    database.close()
    silent.close()


async def test_many_that_connect_at_once_all_pass_over_a_host_that_refuses(
    server: PostgresServer,
) -> None:
    nobody = next(free_ports(random.Random()))
    database = Database(url_of(server, nobody), connection_count=4)
    assert all(await asyncio.gather(*(is_primary(database) for _ in range(4))))
    database.close()


async def test_a_session_does_not_depend_on_the_defaults_of_the_database(
    database_url: str,
) -> None:
    name = database_url.rpartition("/")[2]
    defaults = {
        "timezone": ("Asia/Tokyo", "UTC"),
        "datestyle": ("German", "ISO, MDY"),
        "search_path": ("elsewhere", "public"),
        "default_transaction_isolation": ("serializable", "read committed"),
        "statement_timeout": ("1h", "10s"),
        "client_encoding": ("LATIN1", "UTF8"),
    }
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        for setting, (default, _) in defaults.items():
            connection.cursor().execute(f"ALTER DATABASE {name} SET {setting} = %s", (default,))
    database = Database(database_url, connection_count=1)

    def shown(cursor: Cursor) -> dict[str, str]:
        found = {}
        for setting in defaults:
            cursor.execute(f"SHOW {setting}")
            found[setting] = (cursor.fetchone() or ("",))[0]
        return found

    found = await database.autocommit(shown)
    database.close()
    assert found == {setting: value for setting, (_, value) in defaults.items()}


async def test_without_any_host_the_database_is_away() -> None:
    port = next(free_ports(random.Random()))
    database = Database(f"postgresql://u:p@127.0.0.1:{port}/mesh", connection_count=1)
    with pytest.raises(DatabaseAway):
        await is_primary(database)


async def test_a_server_that_freezes_in_the_middle_is_left(
    server: PostgresServer,
) -> None:
    used = Database(server.url, connection_count=1, work_timeout_seconds=0.3)
    ((backend_pid,),) = await used.autocommit(partial(rows, "SELECT pg_backend_pid()"))
    os.kill(backend_pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatabaseAway):
            await used.autocommit(lambda cursor: cursor.execute("SELECT 1"))
    finally:
        os.kill(backend_pid, signal.SIGCONT)
    assert await is_primary(used)
    used.close()


async def test_work_whose_caller_left_is_finished(server: PostgresServer) -> None:
    used = Database(server.url, connection_count=1)
    await used.autocommit(lambda cursor: cursor.execute("CREATE TABLE done (n integer)"))
    leaving = asyncio.create_task(
        used.transaction(
            lambda cursor: cursor.execute("SELECT pg_sleep(0.2); INSERT INTO done VALUES (1)")
        )
    )
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    # There is only one connection, so this waits for it.
    assert await used.autocommit(partial(rows, "SELECT n FROM done")) == [(1,)]
    used.close()


async def test_a_cancelled_waiter_takes_no_connection(server: PostgresServer) -> None:
    used = Database(server.url, connection_count=1)
    sleeping = asyncio.create_task(
        used.autocommit(lambda cursor: cursor.execute("SELECT pg_sleep(0.2)"))
    )
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(is_primary(used))
    await asyncio.sleep(0)
    waiting.cancel()
    await sleeping
    assert await is_primary(used)
    used.close()
