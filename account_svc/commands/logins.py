"""`python -m account_svc logins summary | show NAME | forgive NAME`.

Shows the failed logins of the last hour, and unblocks an account. Reads and writes the database
of DATABASE_URL, and prints one JSON object:

    summary       {"failures": [{"kind", "subject_count", "most_failures"}, ...]}
    show NAME     {"username", "failures": [{"kind", "failure_count", "last_failed_at",
                                             "known_until"}, ...]}
    forgive NAME  {"username", "forgiven_count"}

`kind` is account, pair or address; times are ISO 8601 in UTC, null for never.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from pydantic_settings import BaseSettings

from account_svc.storage import login_reports
from mesh.postgres.primary_connector import DatabaseUrl
from mesh.settings_loading import load

CONNECT_TIMEOUT_SECONDS = 3


class LoginSettings(BaseSettings):
    """Read once, from the environment."""

    database_url: DatabaseUrl


def main(arguments: Sequence[str]) -> None:
    """Runs the command. A failure ends the process with status 1 and one sentence."""
    options = _parser().parse_args(arguments)
    url = load(LoginSettings).database_url
    try:
        with closing(psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                result = _run(cursor, options)
    except psycopg2.Error as error:
        sys.exit(f"The database of DATABASE_URL cannot be used: {error}".strip())
    sys.stdout.write(f"{json.dumps(result, default=_iso)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m account_svc logins",
        description="Show failed logins, and unblock an account.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("summary", help="count the failed logins of the last hour")
    for name, what in (
        ("show", "show the failures of one account"),
        ("forgive", "allow an account to log in again at once"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("username", help="in any case")
    return parser


def _run(cursor: Cursor, options: argparse.Namespace) -> dict[str, Any]:
    match options.command:
        case "summary":
            return {"failures": [asdict(each) for each in login_reports.summary(cursor)]}
        case "show":
            found = login_reports.failures_of(cursor, options.username)
            return {"username": options.username, "failures": [asdict(each) for each in found]}
        case _:
            count = login_reports.forgive(cursor, options.username)
            return {"username": options.username, "forgiven_count": count}


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()
