"""What the role of a service may try, to remove what is recent."""

from datetime import UTC, datetime
from functools import partial

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from tests.storage.conftest import as_owner

RECENT_AGES = (
    "23:59:59",
    "-1 day",
    "-infinity",
    # Compares as one day, and leads to the future.
    "-12 mons 361 days",
)


async def check_recent_is_kept(database: Database) -> list[str]:
    """Calls every function that removes with the owner's privileges, with each age, as a session
    that chose its settings. All of them must refuse. Returns their names."""
    names = await database.autocommit(_removing_functions)
    await as_owner(database, _end_saga_now)
    for name in names:
        for age in RECENT_AGES:
            with pytest.raises(psycopg2.Error, match="within a day is kept"):
                await database.transaction(partial(_remove, name, age))
        assert await database.transaction(partial(_remove, name, "1 day")) == 0
    return names


def _end_saga_now(cursor: Cursor) -> None:
    cursor.execute(
        "INSERT INTO saga (saga_id, kind, owner, state, body)"
        " VALUES (gen_random_uuid(), 'any', 'any', 'ENDED', '{}')"
    )


def functions_with_asserts(cursor: Cursor) -> list[str]:
    """The functions of the schema with an ASSERT."""
    cursor.execute(
        "SELECT proname FROM pg_proc"
        r" WHERE pronamespace = 'public'::regnamespace AND prosrc ~* '\massert\M'"
    )
    return [str(name) for (name,) in cursor.fetchall()]


def _removing_functions(cursor: Cursor) -> list[str]:
    """Those that the service may call to remove what is older than an age in UTC."""
    cursor.execute(
        "SELECT proname FROM pg_proc WHERE prosecdef"
        " AND pg_get_function_identity_arguments(oid) = 'age interval, max_count integer'"
        " AND has_function_privilege(oid, 'EXECUTE')"
        " AND proconfig @> '{TimeZone=UTC}' ORDER BY proname"
    )
    return [str(name) for (name,) in cursor.fetchall()]


def _remove(name: str, age: str, cursor: Cursor) -> int:
    """With asserts switched off, in a time zone whose clocks went two days forward this midnight:
    there a day ago is tomorrow."""
    cursor.execute("SET LOCAL plpgsql.check_asserts = off")
    day = int(f"{datetime.now(UTC):%j}")
    cursor.execute(f"SET LOCAL timezone = 'AAA0BBB-48,J{day}/0,J{(day + 180) % 365 + 1}/0'")
    cursor.execute(f"SELECT {name}(%s, 1000000)", (age,))
    (removed_count,) = cursor.fetchone() or (-1,)
    return int(removed_count)
