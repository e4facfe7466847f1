"""The update to branches that decide, while the version before it still runs."""

import asyncio
import shutil
import time
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.schema.migrations import migrate
from mesh.txn.model import new_gid
from tests.storage.holding import held

NAME = "_branches_decide.sql"


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """The migrations before it."""
    for path in sorted((repository / "gacha_svc" / "migrations").glob("*.sql")):
        if path.name.endswith(NAME):
            break
        shutil.copy(path, tmp_path)
    return tmp_path


def decide(cursor: Cursor) -> None:
    cursor.execute(
        "INSERT INTO tx_decision (gid, outcome) VALUES (%s, 'commit')",
        (new_gid("coordinator-1", time.time()),),
    )


async def waits_for_a_lock(database: Database) -> bool:
    def count(cursor: Cursor) -> bool:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        (waiting_count,) = cursor.fetchone() or (0,)
        return bool(waiting_count)

    return await database.autocommit(count)


async def test_a_decision_that_is_being_made_stops_the_update(
    database: Database, repository: Path, folder: Path
) -> None:
    await migrate(database, folder)
    (path,) = (repository / "gacha_svc" / "migrations").glob(f"*{NAME}")
    shutil.copy(path, folder)
    async with held(database, decide):
        updating = asyncio.create_task(migrate(database, folder))
        async with asyncio.timeout(10):
            while not await waits_for_a_lock(database):
                await asyncio.sleep(0.01)
    with pytest.raises(psycopg2.Error, match="decided and not carried out yet"):
        await updating
