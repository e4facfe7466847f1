"""A cursor that asks PostgreSQL how it carries out what is executed."""

from collections.abc import Iterator
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


class ExplainingCursor:
    """Executes each statement of a storage function twice, first by EXPLAIN ANALYZE."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.rows_read: dict[str, int] = {}
        """How many rows were read of each table, also those that a filter then removed."""
        self.whole_tables: set[str] = set()
        """The tables that were read from one end to the other."""

    def execute(self, statement: str, values: Any = None) -> None:
        self._cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", values)
        ((plans,),) = self._cursor.fetchall()
        for node in _nodes(plans[0]["Plan"]):
            self._note(node)
        self._cursor.execute(statement, values)

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def _note(self, node: dict[str, Any]) -> None:
        table = node.get("Relation Name")
        if table is None:
            return
        if node["Node Type"].endswith("Seq Scan"):
            self.whole_tables.add(table)
        # PostgreSQL gives averages over the loops.
        read = node["Actual Rows"] + sum(node.get(removed, 0) for removed in REMOVED)
        self.rows_read[table] = self.rows_read.get(table, 0) + round(read * node["Actual Loops"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
