"""The standing questions of an instance: read from its database each second, in one statement.

Each concern of an instance, such as recovery or sagas, has a question: an SQL expression that says
whether there may be work. A concern whose answer is true does its work at once, by statements of
its own. So an instance that has nothing to do sends one short statement a second, however many
concerns it has.

The statement is prepared once for each connection. Planning it would cost more than running it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Question:
    """An SQL expression of one value, with %s for each of `parameters`; $1 is this process's time.
    It must be cheap: it is evaluated each second. On a standby its answer should be that there is
    nothing to do."""

    expression: str
    parameters: tuple[object, ...] = ()


_TIME = Question("extract(epoch FROM now())::float8")
_IS_PRIMARY = Question("NOT pg_is_in_recovery()")


class Pulse:
    """Asks one database. For example:

    pulse = Pulse(database)
    pulse.ask(Question("EXISTS (SELECT FROM saga WHERE due_at <= now())"), due.note)
    ...
    await pulse.beat()  # each second
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns Unix seconds."""
        self._database = database
        self._clock = clock
        self._questions = [_TIME, _IS_PRIMARY]
        self._takers: list[Callable[[Any], None]] = []
        self._prepared: WeakSet[Connection] = WeakSet()
        self.is_primary = False
        """Whether the database took writes at the last beat."""

    def ask(self, question: Question, take: Callable[[Any], None]) -> None:
        """Calls `take` with the answer of each beat. Call it before the first beat."""
        assert not self._prepared, "the statement is prepared at the first beat"
        self._questions.append(question)
        self._takers.append(take)

    async def beat(self) -> float:
        """Asks all questions, and hands out the answers. Returns the database's time in Unix
        seconds, at the start of the statement. Raises DatabaseAway; then no answer is handed
        out."""
        time_seconds, self.is_primary, *answers = await self._database.autocommit(self._read)
        for take, answer in zip(self._takers, answers, strict=True):
            take(answer)
        return float(time_seconds)

    def _read(self, cursor: Cursor) -> tuple[Any, ...]:
        if cursor.connection not in self._prepared:
            self._prepare(cursor)
        cursor.execute("EXECUTE pulse (to_timestamp(%s))", (self._clock(),))
        row: tuple[Any, ...] | None = cursor.fetchone()
        assert row is not None, "a SELECT without FROM gives one row"
        return row

    def _prepare(self, cursor: Cursor) -> None:
        expressions = ", ".join(each.expression for each in self._questions)
        parameters = [value for each in self._questions for value in each.parameters]
        cursor.execute(f"PREPARE pulse (timestamptz) AS SELECT {expressions}", parameters)
        self._prepared.add(cursor.connection)
