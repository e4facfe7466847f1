"""`gachactl sagas`: purchases, clawbacks and gifts that are under way or parked.

Retrying is always safe: every instance that runs the saga makes its calls to other services with
the same idempotency keys.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import psycopg2
import typer
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.gachactl.output import Format, FormatOption, print_json, print_rows, print_sentence
from deploy.gachactl.target import Folder, database_urls, layout_of
from deploy.local.errors import LocalRunError, WrongUsage
from deploy.local.layout import DEFAULT_FOLDER
from mesh.saga import rows as saga_rows
from mesh.saga.definition import Saga

CONNECT_TIMEOUT_SECONDS = 3

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Lists the purchases, clawbacks and gifts that are under way or parked, and retries one.",
)


@app.command("list")
def show_list(folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Show the unfinished sagas of each database, parked ones first. Changes nothing.

    JSON: {"sagas": [{"database", "saga_id", "kind", "state", "attempt_count", "last_failure",
    "waits_for"}, ...]}; waits_for is a person (if it is parked), its lease, or its next attempt.
    """
    found = [
        (database, saga)
        for database, url in database_urls(folder).items()
        for saga in _in_database(folder, url, saga_rows.list_open)
    ]
    if output is Format.JSON:
        print_json({"sagas": [_as_json(database, saga) for database, saga in found]})
        return
    if not found:
        print_sentence("No saga is under way or parked.")
        return
    columns = ["database", "saga", "kind", "state", "attempts", "last failure", "waits for"]
    rows = [map(str, _as_json(database, saga).values()) for database, saga in found]
    print_rows(columns, [list(row) for row in rows])


@app.command("retry")
def retry(
    saga_id: Annotated[str, typer.Argument(help="The saga, as `list` shows it.")],
    folder: Folder = DEFAULT_FOLDER,
    output: FormatOption = Format.TABLE,
) -> None:
    """Make a saga due now, parked or not; it runs within a second. Idempotent.

    JSON: {"database", "saga_id"}.
    """
    try:
        wanted = str(UUID(saga_id))
    except ValueError:
        raise WrongUsage(
            f"{saga_id!r} is no saga's id: it must be a UUID, as {_list_command(folder)} shows it."
        ) from None

    def retry_or_wake(cursor: Cursor) -> bool:
        return saga_rows.retry(cursor, wanted) or bool(saga_rows.wake(cursor, [wanted]))

    for database, url in database_urls(folder).items():
        if _in_database(folder, url, retry_or_wake):
            if output is Format.JSON:
                print_json({"database": database, "saga_id": wanted})
            else:
                print_sentence(f"{database}: {wanted} is tried again within a second.")
            return
    raise LocalRunError(
        f"{wanted} is neither under way nor parked: it has ended, or never was. "
        f"{_list_command(folder)} shows those that are."
    )


def _as_json(database: str, saga: Saga) -> dict[str, object]:
    waits_for = "a person" if saga.is_parked else "its lease" if saga.lease else "its next attempt"
    return {
        "database": database,
        "saga_id": saga.saga_id,
        "kind": saga.kind,
        "state": saga.state,
        "attempt_count": saga.attempt_count,
        "last_failure": saga.reason,
        "waits_for": waits_for,
    }


def _list_command(folder: Path) -> str:
    return layout_of(folder).command("sagas list", "sagas")


def _in_database(folder: Path, url: str, work: Callable[[Cursor], T]) -> T:
    try:
        with closing(psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                return work(cursor)
    except psycopg2.Error as error:
        status = layout_of(folder).command("status")
        raise LocalRunError(
            f"A database does not answer, {status} shows which: {str(error).strip()}"
        ) from error
