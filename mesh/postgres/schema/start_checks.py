"""Checks that a database is as an instance needs it. Every fault is found at once."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.schema.effective_grants import grant_faults, read_effective
from mesh.postgres.schema.files import Schema
from mesh.postgres.schema.grants import KINDS, missing_roles, read_grants
from mesh.postgres.schema.migrations import MigrationError, require_current
from mesh.postgres.schema.requirements import (
    Facts,
    RequirementsUnmet,
    read_facts,
    role_faults,
    server_faults,
)


async def require_all(database: Database, schema: Schema, connection_count: int) -> None:
    """Raises RequirementsUnmet unless the server, the schema and the roles are as an instance
    needs them. The reader is checked too, because nothing else would notice what it may do."""
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
    faults = []
    remedy = (
        "run this service's 'migrate' command as the database's owner, which grants and revokes."
    )
    ways = {
        "service": (facts.role, f"name a member of {grants.service} in DATABASE_URL, or {remedy}"),
        "reader": (grants.reader, remedy),
    }
    missing = missing_roles(cursor, grants)
    for kind in KINDS:
        role, way = ways[kind]
        if role in missing:
            faults.append(f"The server has no role {role}: as its superuser create it, and {way}")
        elif differences := grant_faults(read_effective(cursor, role), grants, kind):
            faults.append(f"The role {role} {', '.join(differences)}: {way}")
    return faults
