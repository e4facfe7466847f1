"""Sagas for operators: `python -m deploy.sagas [list | retry ID]`.

Reads and writes the databases that mesh.json names. To retry is safe at any time: whoever
takes the saga up asks outside by the same keys.

Exit status: 0 as asked; 1 failed or refused; 3 nothing runs.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import psycopg2
import typer
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from rich.console import Console
from rich.table import Table

from deploy.local import mesh_file
from deploy.local.layout import DEFAULT_FOLDER, Layout
from mesh.saga import log as rows
from mesh.saga.definition import Saga

CONNECT_TIMEOUT_SECONDS = 3
NOTHING_RUNS = 3
WIDTH_OF_FILES = 160

T = TypeVar("T")
app = typer.Typer(
    add_completion=False,
    help="Lists the purchases and gifts that are under way or parked, and has one tried again.",
)


@app.callback(invoke_without_command=True)
def choose(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where `make up` keeps mesh.json.")] = DEFAULT_FOLDER,
) -> None:
    mesh = mesh_file.read(Layout(folder.resolve()).mesh)
    if mesh is None:
        typer.echo("Nothing runs: start a mesh with `make up`.")
        raise typer.Exit(NOTHING_RUNS)
    context.obj = mesh["databases"]
    if context.invoked_subcommand is None:
        show_list(context)


@app.command("list")
def show_list(context: typer.Context) -> None:
    """Show what has not ended in each database. Changes nothing."""
    table = Table("database", "saga", "kind", "state", "attempts", "last failure", "waits for")
    for database, url in context.obj.items():
        for saga in _in_database(url, rows.list_open):
            table.add_row(database, *_cells(saga))
    if not table.row_count:
        typer.echo("No saga is under way or parked.")
        return
    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    with contextlib.suppress(OSError):
        Console(highlight=False, width=width).print(table)


@app.command("retry")
def try_again(
    context: typer.Context,
    saga_id: Annotated[str, typer.Argument(help="The saga, as `list` shows it.")],
) -> None:
    """Have a saga tried again at once, parked or not."""
    try:
        wanted = str(UUID(saga_id))
    except ValueError:
        sys.exit(f"{saga_id!r} is no saga's id: it must be a UUID, as `make sagas` shows it.")

    def retry(cursor: Cursor) -> bool:
        return rows.retry(cursor, wanted) or rows.wake(cursor, wanted)

    for database, url in context.obj.items():
        if _in_database(url, retry):
            typer.echo(f"{database}: {wanted} is tried again within a second.")
            return
    sys.exit(f"{wanted} is neither under way nor parked: it has ended, or never was.")


def _cells(saga: Saga) -> Iterator[str]:
    yield from (saga.saga_id, saga.kind, saga.state, str(saga.attempt_count), saga.reason)
    yield "a person" if saga.is_parked else "its lease" if saga.lease else "its next attempt"


def _in_database(url: str, work: Callable[[Cursor], T]) -> T:
    with closing(psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            return work(cursor)


def main() -> None:
    try:
        app()
    except psycopg2.Error as error:
        sys.exit(f"A database does not answer, `make status` shows which: {error}".strip())


if __name__ == "__main__":
    main()
