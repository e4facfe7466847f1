"""Brings a service's database up to date, as its owner: the schema, then the grants."""

from mesh.postgres.database import Database
from mesh.postgres.schema.files import Schema
from mesh.postgres.schema.grants import apply_grants, read_grants
from mesh.postgres.schema.migrations import migrate
from mesh.postgres.schema.requirements import (
    RequirementsUnmet,
    migrator_faults,
    read_facts,
    server_faults,
)


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
