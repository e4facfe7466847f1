"""Work on the sandbox's file: what arrives together is flushed together, what fails fails alone."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from payment_sandbox.storage.shared_file import SharedFile

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (number INTEGER PRIMARY KEY) STRICT"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SharedFile]:
    file = SharedFile(tmp_path / "book.sqlite", SCHEMA)
    yield file
    file.close()


def kept(file: SharedFile) -> list[int]:
    return [number for (number,) in file.connection.execute("SELECT number FROM kept")]


async def keep(file: SharedFile, number: int) -> int:
    def work() -> int:
        file.connection.execute("INSERT INTO kept VALUES (?)", (number,))
        return number

    return await file.transaction(work)


async def test_work_that_arrives_together_is_committed_together(file: SharedFile) -> None:
    statements: list[str] = []
    file.connection.set_trace_callback(statements.append)
    assert await asyncio.gather(*(keep(file, number) for number in range(20))) == [*range(20)]
    assert statements.count("COMMIT") == 1
    assert kept(file) == [*range(20)]


async def test_work_that_fails_is_undone_alone(file: SharedFile) -> None:
    async def insert_and_fail() -> None:
        def work() -> None:
            file.connection.execute("INSERT INTO kept VALUES (2)")
            raise KeyError("after the change")

        await file.transaction(work)

    _, failed, duplicate, _ = await asyncio.gather(
        keep(file, 1), insert_and_fail(), keep(file, 1), keep(file, 3), return_exceptions=True
    )
    assert isinstance(failed, KeyError)
    assert isinstance(duplicate, sqlite3.IntegrityError)
    assert kept(file) == [1, 3]


async def test_a_result_is_on_disk_before_its_caller_has_it(
    file: SharedFile, tmp_path: Path
) -> None:
    await keep(file, 1)
    other = SharedFile(tmp_path / "book.sqlite", SCHEMA)
    assert kept(other) == [1]
    other.close()


async def test_a_transaction_that_cannot_begin_fails_all_and_the_next_one_succeeds(
    file: SharedFile,
) -> None:
    file.connection.execute("BEGIN")
    outcomes = await asyncio.gather(keep(file, 1), keep(file, 2), return_exceptions=True)
    assert [type(each) for each in outcomes] == [sqlite3.OperationalError] * 2
    file.connection.execute("ROLLBACK")
    assert await keep(file, 3) == 3
