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


def carry_out(cursor: Cursor) -> None:
    """A decision whose branch is committed, and that nobody has marked as done; and two others."""
    cursor.execute(
        "INSERT INTO tx_branch (gid, aborted) VALUES"
        " ('done', false), ('open', false), ('aborted', true);"
        "INSERT INTO tx_decision (gid, outcome, done_at, first_operations) VALUES"
        " ('done', 'commit', now(), NULL), ('open', 'commit', NULL, 'debits'),"
        " ('aborted', 'abort', NULL, NULL)"
    )


async def waits_for_a_lock(database: Database) -> bool:
    def count(cursor: Cursor) -> bool:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        (waiting_count,) = cursor.fetchone() or (0,)
        return bool(waiting_count)

    return await database.autocommit(count)


@pytest.fixture
async def update(database: Database, repository: Path, folder: Path) -> Path:
    """The folder with the update, which is not applied yet."""
    await migrate(database, folder)
    (path,) = (repository / "gacha_svc" / "migrations").glob(f"*{NAME}")
    shutil.copy(path, folder)
    return folder


async def test_a_decision_that_is_being_made_stops_the_update(
    database: Database, update: Path
) -> None:
    async with held(database, decide):
        updating = asyncio.create_task(migrate(database, update))
        async with asyncio.timeout(10):
            while not await waits_for_a_lock(database):
                await asyncio.sleep(0.01)
    with pytest.raises(psycopg2.Error, match="its branch is not committed yet"):
        await updating


async def test_a_decision_that_was_carried_out_stays_open(database: Database, update: Path) -> None:
    await database.autocommit(carry_out)
    await migrate(database, update)

    def read(cursor: Cursor) -> list[tuple[str, bytes]]:
        cursor.execute("SELECT gid, first_operations FROM tx_decision")
        return [(gid, bytes(operations)) for gid, operations in cursor.fetchall()]

    assert await database.autocommit(read) == [("open", b"debits")]
