"""`python -m account_svc reconcile [--days DAYS] [--grace SECONDS] [--follow]`.

Compares the payment provider, the purchases and the ledger of the last days. Reads the settings of
account_svc that name the database and the provider (DATABASE_URL, PAYMENT_...), and prints one JSON
object:

    {"since", "until", "charge_count", "purchase_count", "reversal_count", "counts": {KIND: COUNT},
     "differences": [{"kind", "subject_id", "detail"}, ...], "followed": [CHARGE_ID, ...]}

The kinds are those of account_svc.domain.clawbacks.differences; times are ISO 8601 in UTC. It
changes nothing, unless --follow says that refunds and disputes which are not followed yet shall
be; the service does that in the background.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from account_svc.adapters.payments.choose import choose_provider
from account_svc.config import ShopSettings
from account_svc.domain.clawbacks.differences import Report
from account_svc.use_cases.clawbacks.comparison import DAY_SECONDS, GRACE_SECONDS, compare
from account_svc.use_cases.following import begin_following
from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.settings_loading import load

MAX_DAYS = 400


def main(arguments: Sequence[str]) -> None:
    """Runs the command. A failure ends the process with status 1 and one sentence."""
    options = _parser().parse_args(arguments)
    settings = load(ShopSettings)
    database = Database(settings.database_url, connection_count=2)
    try:
        result = asyncio.run(_reconcile(settings, database, options))
    except MeshError as error:
        sys.exit(f"The comparison could not be made: {error.message}")
    finally:
        database.close()
    sys.stdout.write(f"{json.dumps(result)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m account_svc reconcile",
        description="Compare the payment provider, the purchases and the ledger.",
    )
    parser.add_argument(
        "--days", type=int, default=7, metavar="DAYS", help="how far back it goes (default: 7)"
    )
    parser.add_argument(
        "--grace",
        type=int,
        default=GRACE_SECONDS,
        metavar="SECONDS",
        help=f"leave out what is younger, and may be under way (default: {GRACE_SECONDS})",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="take back or return the gems of refunds and disputes that are not followed yet",
    )
    return parser


async def _reconcile(
    settings: ShopSettings, database: Database, options: argparse.Namespace
) -> dict[str, object]:
    days = max(1, min(options.days, MAX_DAYS))
    provider = choose_provider(settings)
    try:
        report = await compare(
            database,
            provider,
            seconds=days * DAY_SECONDS,
            now=time.time(),
            grace_seconds=max(0, options.grace),
        )
        followed = await _follow(database, report) if options.follow else []
    finally:
        await provider.close()
    return {
        "since": _iso(report.period.since),
        "until": _iso(report.period.until),
        "charge_count": report.charge_count,
        "purchase_count": report.purchase_count,
        "reversal_count": report.reversal_count,
        "counts": dict(report.counts_by_kind()),
        "differences": [
            {"kind": each.kind, "subject_id": each.subject_id, "detail": each.detail}
            for each in report.differences
        ],
        "followed": followed,
    }


async def _follow(database: Database, report: Report) -> Sequence[str]:
    """Begins the sagas. The service takes them up within about a second."""
    charge_ids, occasion = sorted(report.charge_ids), f"command-{uuid4()}"
    await database.transaction(lambda cursor: begin_following(cursor, charge_ids, occasion))
    return charge_ids


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
