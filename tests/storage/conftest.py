"""Databases for one test or for a module."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers import databases
from mesh.postgres.database import Database
from mesh.postgres.schema.files import Schema
from mesh.postgres.schema.grants import apply_grants, read_grants
from mesh.postgres.schema.migrations import migrate
from proof.postgres_server import PostgresServer

T = TypeVar("T")
MakeDatabase = Callable[[str, str | Schema], Database]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database."""
    database = Database(database_url, connection_count=6)
    yield database
    database.close()


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Iterator[MakeDatabase]:
    """Databases for a module, by name and schema: made once, emptied for each test.

    Making a database takes as long as many tests.
    """
    made: dict[str, Database] = {}

    def make(name: str, schema: str | Schema) -> Database:
        if name not in made:
            if isinstance(schema, Schema):
                made[name] = service_database(postgres_server, name, schema)
            else:
                made[name] = Database(postgres_server.create_database(name), connection_count=6)
                asyncio.run(made[name].autocommit(lambda cursor: cursor.execute(schema)))
        return made[name]

    yield make
    for name, database in made.items():
        close(database)
        postgres_server.drop_database(name)


class ServiceDatabase(Database):
    """A service's database as its instances connect: as the service's role, with its grants
    alone. `owner` may also make states that no service could."""

    def __init__(self, url: str, owner: Database) -> None:
        super().__init__(url, connection_count=6)
        self.owner = owner


def service_database(server: PostgresServer, name: str, schema: Schema) -> ServiceDatabase:
    """Makes a database with a service's migrations and grants, like its command `migrate`."""
    grants = read_grants(schema.grants)
    kind = grants.service.removesuffix(f"_{databases.SERVICE}")
    owner_url, service_url = server.create_service_database(name, kind)
    owner = Database(owner_url, connection_count=1)
    asyncio.run(
        migrate(owner, schema.migrations, afterwards=lambda cursor: apply_grants(cursor, grants))
    )
    return ServiceDatabase(service_url, owner)


def close(database: Database) -> None:
    if isinstance(database, ServiceDatabase):
        database.owner.close()
    database.close()


async def as_owner(database: Database, work: Callable[[Cursor], T]) -> T:
    """Runs `work` as the owner of the database, to make states that no service could."""
    owner = database.owner if isinstance(database, ServiceDatabase) else database
    return await owner.autocommit(work)


async def empty(database: Database) -> None:
    """Removes all rows but the history of migrations, and prepared transactions of failed
    tests."""

    def roll_back(cursor: Cursor) -> None:
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (gid,) in cursor.fetchall():
            cursor.execute("ROLLBACK PREPARED %s", (gid,))

    def truncate(cursor: Cursor) -> None:
        cursor.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'schema_migration'"
        )
        (tables,) = cursor.fetchone() or ("",)
        cursor.execute(f"TRUNCATE {tables} CASCADE")

    await database.autocommit(roll_back)
    await as_owner(database, truncate)


def migrations_of(repository: Path, service: str) -> Schema:
    """A service's migrations and grants."""
    return Schema.in_folder(repository / service)
