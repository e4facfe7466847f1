"""Removes many rows, a bounded number in each transaction, so that each makes progress."""

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database


async def delete_in_batches(
    database: Database, statement: str, values: Sequence[object], limit: int
) -> None:
    """Repeats a DELETE until it removes fewer than `limit` rows: nothing is left, or others
    remove the rest. The last placeholder of `statement` is its LIMIT."""

    def delete(cursor: Cursor) -> int:
        cursor.execute(statement, (*values, limit))
        return cursor.rowcount

    while await database.autocommit(delete) == limit:
        pass
