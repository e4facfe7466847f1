import asyncio
from pathlib import Path

import pytest

from mesh.postgres.database import Database
from mesh.postgres.schema.migrations import (
    MigrationError,
    migrate,
    read_migrations,
    require_current,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (number integer)")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO first VALUES (1)")
    return tmp_path


async def count_rows(database: Database) -> int:
    def select(cursor: object) -> int:
        cursor.execute("SELECT count(*) FROM first")  # type: ignore[attr-defined]
        return int(cursor.fetchone()[0])  # type: ignore[attr-defined]

    return await database.autocommit(select)


async def test_each_file_is_applied_once_and_in_order(database: Database, folder: Path) -> None:
    assert await migrate(database, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await migrate(database, folder) == []
    assert await count_rows(database) == 1


async def test_processes_that_migrate_together_apply_each_file_once(
    database: Database, folder: Path
) -> None:
    applied = await asyncio.gather(*(migrate(database, folder) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 2]
    assert await count_rows(database) == 1


async def test_a_failed_file_leaves_nothing_behind(database: Database, folder: Path) -> None:
    broken = folder / "0002_second.sql"
    broken.write_text("INSERT INTO first VALUES (1); SELECT 1 / 0")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(database, folder)
    assert await count_rows(database) == 0
    broken.write_text("INSERT INTO first VALUES (1)")
    assert await migrate(database, folder) == ["0002_second.sql"]


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    database: Database, folder: Path
) -> None:
    await migrate(database, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE first (number bigint)")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed"):
        await migrate(database, folder)


async def test_a_database_that_is_newer_than_the_files_is_refused(
    database: Database, folder: Path
) -> None:
    await migrate(database, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match="start a version of the service"):
        await migrate(database, folder)


async def test_a_service_does_not_start_on_an_older_schema(
    database: Database, folder: Path
) -> None:
    with pytest.raises(MigrationError, match="lacks 2 migrations"):
        await require_current(database, folder)
    await migrate(database, folder)
    await require_current(database, folder)


@pytest.mark.parametrize("name", ["0003_third.sql", "2_second.sql", "0002_Second.sql"])
def test_a_gap_or_a_bad_name_is_refused(folder: Path, name: str) -> None:
    (folder / "0002_second.sql").rename(folder / name)
    with pytest.raises(MigrationError, match="0002_words"):
        read_migrations(folder)
