"""`gachactl logins`: shows failed logins, and unblocks an account."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.gachactl.output import Format, FormatOption, print_json, print_rows, print_sentence
from deploy.gachactl.owned.owner import run_owner
from deploy.gachactl.target import Folder, database_urls
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER

OWNER, DATABASE = "account_svc", "account"
_KINDS = {
    "account": "account, at new addresses",
    "pair": "account, at a known address",
    "address": "address",
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Shows the failed logins of the last hour, and unblocks an account.",
)
Name = Annotated[str, typer.Argument(help="The username, in any case.")]


@app.command()
def summary(folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Count the failed logins of the last hour. Changes nothing.

    JSON: {"failures": [{"kind", "subject_count", "most_failures"}, ...]}; kind is account
    (at new addresses), pair (an account at a known address) or address.
    """
    result = _ask(folder, "summary")
    if output is Format.JSON:
        print_json(result)
        return
    rows = [
        [_KINDS[each["kind"]], str(each["subject_count"]), str(each["most_failures"])]
        for each in result["failures"]
    ]
    columns = ["who", "how many", "most failures of one"]
    _print(columns, rows, "No login failed within the last hour.")


@app.command()
def show(
    username: Name, folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE
) -> None:
    """Show the failures of one account. Changes nothing.

    JSON: {"username", "failures": [{"kind", "failure_count", "last_failed_at",
    "known_until"}, ...]}; times are ISO 8601, null for never.
    """
    result = _ask(folder, "show", username)
    if output is Format.JSON:
        print_json(result)
        return
    rows = [
        [
            _KINDS[each["kind"]],
            str(each["failure_count"]),
            each["last_failed_at"] or "-",
            each["known_until"] or "-",
        ]
        for each in result["failures"]
    ]
    columns = ["who", "failures", "last failure", "known until"]
    _print(columns, rows, f"{username} has no failed and no recent logins.")


@app.command()
def forgive(
    username: Name, folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE
) -> None:
    """Allow an account to log in again at once, from every address.

    JSON: {"username", "forgiven_count"}; the count is of the removed failure records.
    """
    result = _ask(folder, "forgive", username)
    if output is Format.JSON:
        print_json(result)
    elif result["forgiven_count"]:
        print_sentence(f"{username} may log in at once.")
    else:
        print_sentence(f"{username} had no failures. Its address may still have to wait.")


def _ask(folder: Path, command: str, *usernames: str) -> Any:
    urls = database_urls(folder)
    if DATABASE not in urls:
        raise LocalRunError("Failed logins are in the account database: set ACCOUNT_DATABASE_URL.")
    environment = {**os.environ, "DATABASE_URL": urls[DATABASE]}
    # A name may begin with a hyphen.
    names = ["--", *usernames] if usernames else []
    return run_owner(OWNER, ["logins", command, *names], environment)


def _print(columns: list[str], rows: list[list[str]], otherwise: str) -> None:
    if rows:
        print_rows(columns, rows)
    else:
        print_sentence(otherwise)
