"""Whether a database can be used."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database


async def is_ready(database: Database) -> bool:
    """Whether the database answers and takes writes. Raises DatabaseAway."""
    return await database.autocommit(_is_primary)


def _is_primary(cursor: Cursor) -> bool:
    cursor.execute("SELECT NOT pg_is_in_recovery()")
    [(is_primary,)] = cursor.fetchall()
    return bool(is_primary)
