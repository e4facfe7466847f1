"""Brings a database's schema up to date with numbered SQL files.

Files are named 0001_words.sql and so on, without gaps. Each is applied once, in order and in
its own transaction. An advisory lock makes it safe to run several processes at once. An
applied file must never change.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database

LOCK_KEY = 7_265_019_404
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_IS_READABLE = """
SELECT has_table_privilege(pg_class.oid, 'SELECT') FROM pg_class
WHERE pg_class.oid = to_regclass('schema_migration')
"""


class MigrationError(Exception):
    """The files or the database are in a wrong state; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path) -> list[Migration]:
    """The files of a folder in order. Raises MigrationError at a bad name or a gap."""
    migrations = []
    for expected, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != expected:
            raise MigrationError(
                f"{path.name}: the next migration must be named {expected:04}_words.sql"
            )
        migrations.append(Migration(expected, path.name, path.read_text()))
    return migrations


def nothing(cursor: Cursor) -> None:
    """Does nothing after the migrations."""


async def migrate(
    database: Database, folder: Path, *, afterwards: Callable[[Cursor], None] = nothing
) -> list[str]:
    """Applies the missing migrations, then calls `afterwards`, which must be repeatable; no
    other process migrates meanwhile. Returns the names of the migrations.

    Idempotent. Raises MigrationError if an applied file was changed, or if the database is
    newer than these files.
    """
    migrations = read_migrations(folder)

    def apply_all(cursor: Cursor) -> list[str]:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        try:
            applied = _apply_missing(cursor, migrations)
            afterwards(cursor)
            return applied
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
            cursor.execute("RESET statement_timeout")

    return await database.autocommit(apply_all)


async def require_current(database: Database, folder: Path) -> None:
    """Raises MigrationError unless every file of the folder has been applied."""
    migrations = read_migrations(folder)

    def missing(cursor: Cursor) -> list[Migration]:
        cursor.execute(_IS_READABLE)
        # Whoever may not read the history learns that from the comparison of the grants.
        return _missing(cursor, migrations) if cursor.fetchone() == (True,) else migrations

    behind = await database.autocommit(missing)
    if behind:
        raise MigrationError(
            f"The database lacks {len(behind)} migrations, from {behind[0].name} on: "
            "run this service's 'migrate' command first, as the database's owner."
        )


def _apply_missing(cursor: Cursor, migrations: list[Migration]) -> list[str]:
    cursor.execute(_HISTORY)
    missing = _missing(cursor, migrations)
    for migration in missing:
        cursor.execute("BEGIN")
        try:
            cursor.execute(migration.sql)
            cursor.execute(
                "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
    return [migration.name for migration in missing]


def _missing(cursor: Cursor, migrations: list[Migration]) -> list[Migration]:
    cursor.execute("SELECT version, sha256 FROM schema_migration ORDER BY version")
    applied: dict[int, str] = dict(cursor.fetchall())
    if len(applied) > len(migrations):
        raise MigrationError(
            f"The database is at migration {max(applied)}, these files end at {len(migrations)}: "
            "start a version of the service that is at least as new as the database."
        )
    for migration in migrations:
        if applied.get(migration.version, migration.sha256) != migration.sha256:
            raise MigrationError(
                f"{migration.name} was changed after it was applied: restore it, "
                "and put the change into a new migration."
            )
    return [migration for migration in migrations if migration.version not in applied]
