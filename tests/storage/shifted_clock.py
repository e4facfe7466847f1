"""A database whose clock is wrong: its now() is replaced by a function that adds an offset."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


def shift_clock(cursor: Cursor, seconds: float) -> None:
    """Shifts the clock of the cursor's database, once. The cursor is the superuser's."""
    cursor.execute(
        "SET allow_system_table_mods = on;"
        " ALTER FUNCTION pg_catalog.now() RENAME TO right_now;"
        " CREATE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE"
        " RETURN pg_catalog.right_now() + make_interval(secs => %s);"
        " RESET allow_system_table_mods",
        (seconds,),
    )


def restore_clock(cursor: Cursor) -> None:
    """Ends the shift."""
    cursor.execute(
        "SET allow_system_table_mods = on;"
        " DROP FUNCTION pg_catalog.now();"
        " ALTER FUNCTION pg_catalog.right_now() RENAME TO now;"
        " RESET allow_system_table_mods"
    )
