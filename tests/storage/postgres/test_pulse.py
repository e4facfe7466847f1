"""The standing questions of an instance, on a real PostgreSQL."""

from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database, DatabaseAway
from mesh.postgres.pulse import Pulse, Question


async def test_each_question_gets_its_own_answer_of_the_moment(database: Database) -> None:
    await database.autocommit(lambda cursor: cursor.execute("CREATE TABLE work (kind text)"))
    pulse = Pulse(database, clock=lambda: 1_800_000_000.25)
    answers: dict[str, list[Any]] = {"is_due": [], "time": [], "sum": []}
    is_due = Question("EXISTS (SELECT FROM work WHERE kind = ANY(%s))", (["a", "b"],))
    pulse.ask(is_due, answers["is_due"].append)
    pulse.ask(Question("extract(epoch FROM $1)::float8"), answers["time"].append)
    pulse.ask(Question("%s + %s", (1, 2)), answers["sum"].append)
    await pulse.beat()
    await database.autocommit(lambda cursor: cursor.execute("INSERT INTO work VALUES ('b')"))
    await pulse.beat()
    assert answers["is_due"] == [False, True]
    assert answers["time"] == [1_800_000_000.25] * 2
    assert answers["sum"] == [3, 3]
    assert pulse.is_primary


async def test_a_beat_works_on_every_connection_and_after_all_of_them_were_lost(
    database: Database, database_url: str
) -> None:
    pulse = Pulse(database)
    answers: list[int] = []
    pulse.ask(Question("pg_backend_pid()"), answers.append)
    await pulse.beat()
    admin = Database(database_url, connection_count=1)
    await admin.autocommit(lambda cursor: _end_others(cursor))
    admin.close()
    with pytest.raises(DatabaseAway):
        await pulse.beat()
    await pulse.beat()
    assert len(set(answers)) == 2


async def test_no_answer_is_handed_out_while_the_database_is_away() -> None:
    pulse = Pulse(Database("postgresql://nobody@127.0.0.1:1/none", connection_count=1))
    answers: list[object] = []
    pulse.ask(Question("true"), answers.append)
    with pytest.raises(DatabaseAway):
        await pulse.beat()
    assert not answers
    assert not pulse.is_primary


def _end_others(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
