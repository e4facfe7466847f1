"""The answers to standing questions."""

import time
from collections.abc import Callable
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.pulse import Question


async def answer_of(
    database: Database, question: Question, clock: Callable[[], float] = time.time
) -> Any:
    """The answer to it alone, read as `mesh.postgres.pulse.Pulse` reads it."""

    def read(cursor: Cursor) -> Any:
        cursor.execute(
            f"PREPARE asked (timestamptz) AS SELECT {question.expression}", question.parameters
        )
        cursor.execute("EXECUTE asked (to_timestamp(%s))", (clock(),))
        row = cursor.fetchone()
        cursor.execute("DEALLOCATE asked")
        assert row is not None, "a SELECT without FROM gives one row"
        return row[0]

    return await database.autocommit(read)


async def is_primary(database: Database) -> bool:
    """Whether it answers and takes writes."""
    return bool(await answer_of(database, Question("NOT pg_is_in_recovery()")))
