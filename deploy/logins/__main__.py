"""Failed logins for operators: `python -m deploy.logins [summary | show NAME | forgive NAME]`.

Reads and writes the account database that mesh.json names; names and addresses are stored
there as digests alone, so that an account is found by its name and an address by nobody.

Exit status: 0 as asked; 1 failed or refused; 3 nothing runs.
"""

import contextlib
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import psycopg2
import typer
from rich.console import Console
from rich.table import Table

from deploy.local import mesh_file
from deploy.local.layout import DEFAULT_FOLDER, Layout

CONNECT_TIMEOUT_SECONDS = 3
NOTHING_RUNS = 3
WIDTH_OF_FILES = 110
_WHO = {
    "account": "account, at new addresses",
    "pair": "account, at a known address",
    "address": "address",
}

app = typer.Typer(
    add_completion=False,
    help="Shows who has failed to log in within the last hour, and lets an account in again.",
)
Name = Annotated[str, typer.Argument(help="The username, in any case.")]


@app.callback(invoke_without_command=True)
def choose(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where `make up` keeps mesh.json.")] = DEFAULT_FOLDER,
) -> None:
    mesh = mesh_file.read(Layout(folder.resolve()).mesh)
    if mesh is None:
        typer.echo("Nothing runs: start a mesh with `make up`.")
        raise typer.Exit(NOTHING_RUNS)
    context.obj = mesh["databases"]["account"]
    if context.invoked_subcommand is None:
        summarize(context)


@app.command("summary")
def summarize(context: typer.Context) -> None:
    """Show how many have failed within the last hour. Changes nothing."""
    rows = _ask(context.obj, "SELECT kind, subject_count, most_failures FROM failed_logins()")
    columns = ["who", "how many", "most failures of one"]
    _print(columns, rows, "Nobody has failed to log in within the last hour.")


@app.command("show")
def show(context: typer.Context, username: Name) -> None:
    """Show the failures of one account. Changes nothing."""
    rows = _ask(
        context.obj,
        "SELECT kind, failure_count, date_trunc('second', last_failed_at),"
        " date_trunc('second', known_until) FROM login_attempts_of(%s)",
        username,
    )
    columns = ["who", "failures", "the last one", "known until"]
    _print(columns, rows, f"{username} has neither failed to log in nor logged in lately.")


@app.command("forgive")
def forgive(context: typer.Context, username: Name) -> None:
    """Let an account log in again at once, wherever it waits."""
    ((forgiven_count,),) = _ask(context.obj, "SELECT forgive_login_attempts(%s)", username)
    typer.echo(
        f"{username} may log in at once."
        if forgiven_count
        else f"{username} had no failures: it waits for nothing, though its address may."
    )


def _ask(url: str, statement: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()


def _print(columns: list[str], rows: list[tuple[Any, ...]], otherwise: str) -> None:
    """A row for each subject, whose first cell is its kind, or `otherwise` when there is none."""
    if not rows:
        typer.echo(otherwise)
        return
    table = Table(*columns)
    for kind, *cells in rows:
        table.add_row(_WHO[kind], *("-" if cell is None else str(cell) for cell in cells))
    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    with contextlib.suppress(OSError):
        Console(highlight=False, width=width).print(table)


def main() -> None:
    try:
        app()
    except psycopg2.Error as error:
        sys.exit(f"The database does not answer, `make status` shows which: {error}".strip())


if __name__ == "__main__":
    main()
