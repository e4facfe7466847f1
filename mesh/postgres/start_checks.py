"""Brings a service's database up to date, and checks before it serves that all is as it needs.

`migrate_and_grant` is for the owner, `require_all` for each instance. Both find every fault at
once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.effective_grants import grant_faults, read_effective
from mesh.postgres.grants import apply_grants, read_grants
from mesh.postgres.migrations import MigrationError, migrate, require_current
from mesh.postgres.requirements import (
    Facts,
    migrator_faults,
    read_facts,
    role_faults,
    server_faults,
)


class RequirementsUnmet(Exception):
    """The database is not as the service needs it; the message lists every fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        super().__init__(f"The database of DATABASE_URL is not as this service needs it:{listed}")
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Schema:
    """The files of a service that say how its database must be."""

    migrations: Path
    grants: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "Schema":
        """Those of a service's package."""
        return cls(folder / "migrations", folder / "grants.toml")


async def migrate_and_grant(database: Database, schema: Schema, connection_count: int) -> list[str]:
    """Applies the missing migrations, then the grants. Returns the names of the migrations.

    Idempotent. Raises RequirementsUnmet before anything is changed, MigrationError and
    GrantError.
    """
    grants = read_grants(schema.grants)
    facts = await database.autocommit(read_facts)
    faults = [*server_faults(facts, connection_count), *migrator_faults(facts)]
    if faults:
        raise RequirementsUnmet(faults)
    return await migrate(
        database, schema.migrations, afterwards=lambda cursor: apply_grants(cursor, grants)
    )


async def require_all(database: Database, schema: Schema, connection_count: int) -> None:
    """Raises RequirementsUnmet unless the server, the schema and the role are as an instance
    needs them."""
    facts = await database.autocommit(read_facts)
    faults = [*server_faults(facts, connection_count), *role_faults(facts)]
    # An owner has every privilege; that it is one is the fault to tell.
    if not facts.may_change_rules:
        faults += await database.autocommit(lambda cursor: _grant_faults(cursor, schema, facts))
    try:
        await require_current(database, schema.migrations)
    except MigrationError as error:
        faults.append(str(error))
    if faults:
        raise RequirementsUnmet(faults)


def _grant_faults(cursor: Cursor, schema: Schema, facts: Facts) -> list[str]:
    """Compares the grants, unless no migration was ever applied."""
    grants = read_grants(schema.grants)
    cursor.execute("SELECT FROM pg_tables WHERE tablename = 'schema_migration'")
    if cursor.rowcount == 0:
        return []
    differences = grant_faults(read_effective(cursor, facts.role), grants, "service")
    if not differences:
        return []
    return [
        f"The role {facts.role} {', '.join(differences)}: name a member of {grants.service} in "
        "DATABASE_URL, or run this service's 'migrate' command as the database's owner, which "
        "grants and revokes."
    ]
