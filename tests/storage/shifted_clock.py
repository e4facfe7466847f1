"""A database whose clock is wrong: its now(), and the times of its prepared transactions, are
replaced by others that add an offset.

A column's DEFAULT now() that was made before the shift stays right.
"""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


def shift_clock(cursor: Cursor, seconds: float) -> None:
    """Shifts the clock of the cursor's database, once. The cursor is the superuser's."""
    cursor.execute(
        "SET allow_system_table_mods = on;"
        " ALTER FUNCTION pg_catalog.now() RENAME TO right_now;"
        " CREATE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE"
        " RETURN pg_catalog.right_now() + make_interval(secs => %s);"
        " ALTER VIEW pg_catalog.pg_prepared_xacts RENAME TO right_prepared_xacts;"
        " CREATE VIEW pg_catalog.pg_prepared_xacts AS"
        " SELECT transaction, gid, prepared + make_interval(secs => %s) AS prepared, owner,"
        " database FROM pg_catalog.right_prepared_xacts;"
        " GRANT SELECT ON pg_catalog.pg_prepared_xacts TO PUBLIC;"
        " RESET allow_system_table_mods",
        (seconds, seconds),
    )


def restore_clock(cursor: Cursor) -> None:
    """Ends the shift."""
    cursor.execute(
        "SET allow_system_table_mods = on;"
        " DROP FUNCTION pg_catalog.now();"
        " ALTER FUNCTION pg_catalog.right_now() RENAME TO now;"
        " DROP VIEW pg_catalog.pg_prepared_xacts;"
        " ALTER VIEW pg_catalog.right_prepared_xacts RENAME TO pg_prepared_xacts;"
        " RESET allow_system_table_mods"
    )
