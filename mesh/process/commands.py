"""The commands of a service: `serve` and `migrate`."""

import sys
from collections.abc import Awaitable, Callable

import structlog

from mesh.errors import MeshError
from mesh.logs import configure_logs
from mesh.postgres.database import Database, DatabaseAway
from mesh.postgres.grants import GrantError
from mesh.postgres.migrations import MigrationError
from mesh.postgres.start_checks import (
    RequirementsUnmet,
    Schema,
    migrate_and_grant,
    require_all,
)
from mesh.process.runtime import run

log = structlog.get_logger()


def run_command(
    command: str,
    *,
    instance_id: str,
    log_level: str,
    database: Database,
    connection_count: int,
    schema: Schema,
    serve: Callable[[], Awaitable[None]],
) -> None:
    """Runs `serve` or `migrate`.

    `migrate` brings the schema and the grants up to date and exits. `serve` checks first that
    the database is as the service needs it, for `connection_count` connections. An error ends
    the process with status 1 and one sentence, or with the list of all faults.
    """
    configure_logs(log_level, instance_id)

    async def main() -> None:
        if command == "migrate":
            applied = await migrate_and_grant(database, schema, connection_count)
            log.info("migrate", applied=applied)
            return
        await require_all(database, schema, connection_count)
        await serve()

    try:
        run(main())
    except (RequirementsUnmet, MigrationError, GrantError) as error:
        sys.exit(str(error))
    except DatabaseAway as error:
        sys.exit(f"The database of DATABASE_URL cannot be used: {error.__cause__ or error}.")
    except MeshError as error:
        sys.exit(error.message)
    finally:
        database.close()
