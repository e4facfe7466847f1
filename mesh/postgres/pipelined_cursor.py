"""Saves the round trip that opens a branch."""

from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


class PipelinedCursor(Cursor):
    """Sends the statements that open a branch together with the next statement, because a
    round trip is half the cost of a small statement."""

    _opening = b""

    def begin_with(self, statements: str, parameters: tuple[object, ...]) -> None:
        """Keeps the statements for the next `execute`, after those kept before. Sends nothing
        yet."""
        self._opening += self.mogrify(statements, parameters)

    def execute(self, query: Any, parameters: Any = None) -> None:
        opening, self._opening = self._opening, b""
        if opening:
            super().execute(opening + self.mogrify(query, parameters))
        else:
            super().execute(query, parameters)
