"""`gachactl reconcile`: compares the payment provider, the purchases and the ledger."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from deploy.gachactl.output import (
    Format,
    FormatOption,
    print_json,
    print_rows,
    print_sentence,
    say_with_time,
)
from deploy.gachactl.owned.owner import run_owner
from deploy.gachactl.target import Folder, database_urls, layout_of, running_mesh
from deploy.local.layout import DEFAULT_FOLDER

OWNER, DATABASE = "account_svc", "account"
SANDBOX = "payment_sandbox"
FAILED = 1

Days = Annotated[int, typer.Option(min=1, max=400, help="How far back it goes.")]
Grace = Annotated[
    int, typer.Option(min=0, help="Leave out what is younger, in seconds: it may be under way.")
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        help="Take back or return the gems of refunds and disputes that are not followed yet.",
    ),
]


def reconcile(
    folder: Folder = DEFAULT_FOLDER,
    days: Days = 7,
    grace: Grace = 300,
    follow: Follow = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compare the payment provider, the purchases and the ledger. Status 1 if they differ.

    JSON: {"since", "until", "charge_count", "purchase_count", "reversal_count",
    "counts": {KIND: COUNT}, "differences": [{"kind", "subject_id", "detail"}, ...],
    "followed": [CHARGE_ID, ...]}. Changes nothing without --follow.
    ACCOUNT_DATABASE_URL and the PAYMENT_ settings of account_svc select another mesh.
    """
    arguments = ["reconcile", f"--days={days}", f"--grace={grace}"]
    if follow:
        arguments.append("--follow")
    environment = _environment(folder)
    say_with_time(f"Comparing the provider, the purchases and the ledger of the last {days} days.")
    result = run_owner(OWNER, arguments, environment)
    if output is Format.JSON:
        print_json(result)
    else:
        compared = f"{result['charge_count']} charges, {result['purchase_count']} purchases and "
        compared += f"{result['reversal_count']} refunds and disputes since {result['since']}"
        if result["differences"]:
            rows = [list(each.values()) for each in result["differences"]]
            print_rows(["difference", "of", "detail"], rows)
        else:
            print_sentence(f"No difference in {compared}.")
        for charge_id in result["followed"]:
            print_sentence(f"Charge {charge_id} is being followed.")
    if result["differences"]:
        raise typer.Exit(FAILED)


def _environment(folder: Path) -> Mapping[str, str]:
    """The settings of the command: those of this process first, then those of the mesh in the
    folder, whose provider is the sandbox unless PAYMENT_PROVIDER says otherwise."""
    database = {"DATABASE_URL": database_urls(folder)[DATABASE]}
    if "PAYMENT_PROVIDER" in os.environ:
        return {**os.environ, **database}
    layout = layout_of(folder)
    [sandbox] = [each for each in running_mesh(layout)["processes"] if each["role"] == SANDBOX]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PAYMENT_")},
        **database,
        "PAYMENT_PROVIDER": "sandbox",
        "PAYMENT_URL": f"http://{sandbox['address']}",
        "PAYMENT_SECRET_KEY_FILE": str(layout.secrets / "payment_secret_key"),
        "PAYMENT_WEBHOOK_SECRET_FILE": str(layout.secrets / "payment_webhook_secret"),
    }
