"""An inventory that changes while items are taken out of it."""

from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers.databases import SERVICE
from gacha_svc.storage import gifts as storage
from mesh.postgres.database import Database
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, empty, migrations_of

ITEM_ID = 101
DATABASE = "inventories"


@pytest.fixture(scope="module")
def inventories(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database(DATABASE, migrations_of(repository, "gacha_svc"))


class Meanwhile:
    """A cursor after whose first statement the player gets another of the item, unless the row is
    locked."""

    def __init__(self, cursor: Cursor, database_url: str, user_id: str) -> None:
        self._cursor, self._database_url, self._user_id = cursor, database_url, user_id
        self._is_first = True

    def execute(self, *arguments: object) -> None:
        self._cursor.execute(*arguments)  # type: ignore[arg-type]
        if self._is_first:
            self._is_first = False
            with (
                closing(psycopg2.connect(self._database_url)) as other,
                suppress(LockNotAvailable),
                other,
                other.cursor() as cursor,
            ):
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
                storage.put_items(cursor, self._user_id, ITEM_ID, 1)

    def __getattr__(self, name: str) -> object:
        return getattr(self._cursor, name)


@pytest.mark.parametrize(("held", "taken", "is_taken"), [(1, 1, True), (2, 1, True), (1, 3, False)])
async def test_an_item_that_arrives_meanwhile_hides_none(
    inventories: Database,
    postgres_server: PostgresServer,
    held: int,
    taken: int,
    is_taken: bool,
) -> None:
    database = inventories
    await empty(database)
    user_id = str(uuid4())
    await database.autocommit(lambda cursor: storage.put_items(cursor, user_id, ITEM_ID, held))

    def take(cursor: Cursor) -> bool:
        url = postgres_server.role_url(DATABASE, "gacha", SERVICE)
        meanwhile = Meanwhile(cursor, url, user_id)
        return storage.take_items(meanwhile, user_id, ITEM_ID, taken)  # type: ignore[arg-type]

    assert await database.transaction(take) is is_taken
