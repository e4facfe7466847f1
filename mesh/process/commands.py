"""The commands of a service: `serve` and `migrate`, and how its settings are read."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from mesh.errors import MeshError
from mesh.logs import configure_logs
from mesh.postgres.database import Database, DatabaseAway
from mesh.postgres.primary_connector import DatabaseUrl
from mesh.postgres.schema.files import Schema
from mesh.postgres.schema.grants import GrantError
from mesh.postgres.schema.migrations import MigrationError
from mesh.postgres.schema.requirements import RequirementsUnmet
from mesh.postgres.schema.start_checks import require_all
from mesh.postgres.schema.update import migrate_and_grant
from mesh.process.runtime import run
from mesh.settings_loading import WrongSettings, load

Settings = TypeVar("Settings", bound=BaseSettings)
log = structlog.get_logger()


class _DatabaseSettings(BaseSettings):
    database_url: DatabaseUrl


def load_with_database(kind: type[Settings]) -> Settings:
    """As `load`. If a setting is wrong, the database is tried too, so that one list has both."""
    return load(kind, _connection_faults)


def _read(kind: type[Settings]) -> Settings:
    return kind()


def _connection_faults() -> list[str]:
    try:
        url = _read(_DatabaseSettings).database_url
    except ValidationError:
        return []
    database = Database(url, connection_count=1)
    try:
        asyncio.run(database.autocommit(lambda cursor: cursor.execute("SELECT 1")))
    except DatabaseAway as error:
        return [f"DATABASE_URL: {_unreachable(database, error)}"]
    finally:
        database.close()
    return []


def _unreachable(database: Database, error: DatabaseAway) -> str:
    return (
        f"cannot be used: {error.__cause__ or error}. It was tried {database.wanted}: start the "
        "server there, or correct the host, the database, the role or its password in the URL."
    )


def run_command(
    command: str,
    *,
    instance_id: str,
    log_level: str,
    database: Database,
    connection_count: int,
    schema: Schema,
    serve: Callable[[], Awaitable[None]],
    further_faults: Callable[[], Sequence[str]] = list,
) -> None:
    """Runs `serve` or `migrate`.

    `migrate` brings the schema and the grants up to date and exits. `serve` checks first that
    the database is as the service needs it, for `connection_count` connections. An error ends
    the process with status 1 and one sentence, or with the list of all faults; then
    `further_faults` of the settings are told with them.
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
        _end(str(error), further_faults())
    except DatabaseAway as error:
        _end(f"The database of DATABASE_URL {_unreachable(database, error)}", further_faults())
    except MeshError as error:
        sys.exit(error.message)
    finally:
        database.close()


def _end(sentence: str, further_faults: Sequence[str]) -> NoReturn:
    if further_faults:
        raise WrongSettings("\n".join([sentence, *further_faults]))
    sys.exit(sentence)
