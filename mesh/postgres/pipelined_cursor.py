"""Saves round trips: a statement whose answer nobody needs is sent together with the next one."""

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


class PipelinedCursor(Cursor):
    """A cursor that can keep statements back. A round trip is half the cost of a small one."""

    _kept = b""

    def keep(self, statement: str, parameters: Sequence[object]) -> None:
        """Keeps the statement, or several, for the next `execute`, after those kept before. Sends
        nothing yet; an error of it is raised by that `execute`."""
        self._kept += self.mogrify(statement, parameters) + b";"

    def flush(self) -> None:
        """Executes the statements that were kept, if any."""
        kept, self._kept = self._kept, b""
        if kept:
            super().execute(kept)

    def execute(self, query: Any, parameters: Any = None) -> None:
        kept, self._kept = self._kept, b""
        if kept:
            super().execute(kept + self.mogrify(query, parameters))
        else:
            super().execute(query, parameters)


def execute_soon(cursor: Cursor, statement: str, parameters: Sequence[object]) -> None:
    """Executes a statement that returns nothing: now, or with the cursor's next one if that is a
    `PipelinedCursor`."""
    if isinstance(cursor, PipelinedCursor):
        cursor.keep(statement, parameters)
    else:
        cursor.execute(statement, parameters)
