"""The answer to one standing question."""

import time
from collections.abc import Callable
from typing import Any

from mesh.postgres.database import Database
from mesh.postgres.pulse import Pulse, Question


async def answer_of(
    database: Database, question: Question, clock: Callable[[], float] = time.time
) -> Any:
    """The answer of one beat."""
    pulse = Pulse(database, clock)
    answers: list[Any] = []
    pulse.ask(question, answers.append)
    await pulse.beat()
    # The name of the prepared statement is free for the next pulse of this connection.
    await database.autocommit(lambda cursor: cursor.execute("DEALLOCATE pulse"))
    return answers[0]
