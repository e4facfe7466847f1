"""Databases for one test or for a module."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.migrations import read_migrations
from proof.postgres_server import PostgresServer


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database."""
    database = Database(database_url, connection_count=6)
    yield database
    database.close()


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Iterator[Callable[[str, str], Database]]:
    """Databases for a module, by name and schema: made once, emptied for each test.

    Making a database takes as long as many tests.
    """
    made: dict[str, Database] = {}

    def make(name: str, schema: str) -> Database:
        if name not in made:
            url = postgres_server.create_database(name)
            made[name] = Database(url, connection_count=6)
            asyncio.run(made[name].autocommit(lambda cursor: cursor.execute(schema)))
        return made[name]

    yield make
    for name, database in made.items():
        database.close()
        postgres_server.drop_database(name)


async def empty(database: Database) -> None:
    """Removes all rows, and prepared transactions of failed tests."""

    def truncate(cursor: Cursor) -> None:
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (gid,) in cursor.fetchall():
            cursor.execute("ROLLBACK PREPARED %s", (gid,))
        cursor.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public'"
        )
        (tables,) = cursor.fetchone() or ("",)
        cursor.execute(f"TRUNCATE {tables} CASCADE")

    await database.autocommit(truncate)


def migrations_of(repository: Path, service: str) -> str:
    """All of a service's migrations, as one script."""
    return "".join(one.sql for one in read_migrations(repository / service / "migrations"))
