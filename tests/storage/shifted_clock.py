"""A database whose clock is wrong: in new sessions, now() is a function that adds an offset."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


def shift_clock(cursor: Cursor, seconds: float) -> None:
    """Shifts the clock of the cursor's database for all sessions that begin from now on."""
    cursor.execute("SELECT current_database()")
    ((name,),) = cursor.fetchall()
    cursor.execute(
        "CREATE SCHEMA IF NOT EXISTS shifted;"
        " CREATE OR REPLACE FUNCTION shifted.now() RETURNS timestamptz LANGUAGE sql STABLE"
        " RETURN pg_catalog.now() + make_interval(secs => %s)",
        (seconds,),
    )
    cursor.execute(f'ALTER DATABASE "{name}" SET search_path = shifted, pg_catalog, public')


def end_sessions(cursor: Cursor) -> None:
    """Ends all other sessions of the cursor's database."""
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )


def restore_clock(cursor: Cursor) -> None:
    """Ends the shift for all sessions that begin from now on."""
    cursor.execute("SELECT current_database()")
    ((name,),) = cursor.fetchall()
    cursor.execute(f'ALTER DATABASE "{name}" RESET search_path; DROP SCHEMA shifted CASCADE')
