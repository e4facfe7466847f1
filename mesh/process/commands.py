"""The commands of a service: `serve` and `migrate`."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from mesh.errors import MeshError
from mesh.logs import configure_logs
from mesh.postgres.database import Database
from mesh.postgres.migrations import MigrationError, migrate, require_current
from mesh.process.runtime import run

log = structlog.get_logger()


def run_command(
    command: str,
    *,
    instance_id: str,
    log_level: str,
    database: Database,
    migrations: Path,
    serve: Callable[[], Awaitable[None]],
) -> None:
    """Runs `serve` or `migrate`.

    `migrate` brings the schema up to date and exits. An error ends the process with status 1
    and one sentence.
    """
    configure_logs(log_level, instance_id)

    async def main() -> None:
        if command == "migrate":
            log.info("migrate", applied=await migrate(database, migrations))
            return
        await require_current(database, migrations)
        await serve()

    try:
        run(main())
    except MigrationError as error:
        sys.exit(str(error))
    except MeshError as error:
        sys.exit(error.message)
    finally:
        database.close()
