"""`gachactl tx list` and `gachactl tx resolve`."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer

from deploy.gachactl.output import Format, FormatOption, print_json
from deploy.gachactl.target import Folder, layout_of
from deploy.gachactl.transactions.as_json import ended_json, listing_json, resolution_json
from deploy.gachactl.transactions.listing import Listing, look
from deploy.gachactl.transactions.report import Reporter
from deploy.gachactl.transactions.resolution import resolve
from deploy.gachactl.transactions.sides import PULLS, Access, Sides, access_to, connect
from deploy.local.errors import WrongUsage
from deploy.local.layout import DEFAULT_FOLDER
from mesh.settings_loading import load
from mesh.tls.security import security_read_once
from mesh.tls.settings import TlsSettings
from mesh.txn.model import gid_age_seconds, is_gid

YOUNG_SECONDS = 10.0
"""A younger transaction may still be running: its coordinator may only be slow."""
EXAMPLE_GID = "gacha_svc-1:1767225600000:9f2c4e61ab03d785"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Lists the transactions that are in flight or in doubt, and settles one by the "
    "protocol. Works on the mesh of a folder, or on any other by its registries and key.",
)
Registries = Annotated[
    str,
    typer.Option(
        envvar="MESH_REGISTRIES",
        help="host:port of each registry, separated by commas, of a mesh that does not run in "
        "the folder. Needs --key-file.",
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option(envvar="MESH_SERVICE_KEY_FILE", help="The operators' key.")
]


@app.command("list")
def show_list(
    folder: Folder = DEFAULT_FOLDER,
    registries: Registries = "",
    key_file: KeyFile = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the transactions in flight and in doubt on both sides. Changes nothing.

    JSON: {"transactions": [{"gid", "coordinator", "age_seconds", "prepared": {SERVICE: true,
    false or null}, "decision": commit, abort or null, "state"}, ...], "failures": {SERVICE:
    SENTENCE}, "is_cut": true if the list is incomplete}. Exit status 1 if there are failures.
    """
    listing = asyncio.run(_look(_access(folder, registries, key_file)))
    if output is Format.JSON:
        print_json(listing_json(listing, PULLS))
    else:
        Reporter().show(listing, PULLS, layout_of(folder))
    if listing.failures:
        Reporter().show_failures(listing)
        raise typer.Exit(1)


@app.command("resolve")
def settle(
    gid: Annotated[str, typer.Argument(help="The transaction, as `list` shows it.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, even if the transaction is young.")
    ] = False,
    folder: Folder = DEFAULT_FOLDER,
    registries: Registries = "",
    key_file: KeyFile = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Abort one transaction unless it is decided, and carry the decision out. Idempotent.

    Exit status 0 when both sides have the same outcome. JSON: {"gid", "outcome": commit, abort
    or null, "is_complete", "steps": [{"service", "error": SENTENCE or null, "was_lost"}, ...]}.
    """
    if not is_gid(gid):
        listed = layout_of(folder).command("tx list", "tx")
        raise WrongUsage(
            f"{gid!r} is no transaction's gid: it reads <coordinator>:<created_ms>:<random>, such "
            f"as {EXAMPLE_GID}, and {listed} shows those of all transactions under way."
        )
    access = _access(folder, registries, key_file)
    age_seconds = max(0.0, gid_age_seconds(gid, time.time()))
    if age_seconds < YOUNG_SECONDS and not yes:
        typer.confirm(
            f"The transaction is only {age_seconds:.1f} s old: its coordinator may still be at "
            "work. Settle it now (--yes, or make's YES=1, does not ask)?",
            abort=True,
            err=True,
        )
    if not asyncio.run(_resolve(access, gid, output)):
        raise typer.Exit(1)


def _access(folder: Path, registries: str, key_file: Path | None) -> Access:
    # Failures are reported in sentences; log lines would stand between them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    addresses = tuple(part.strip() for part in registries.split(",") if part.strip())
    if not addresses:
        return access_to(layout_of(folder))
    if key_file is None:
        raise WrongUsage(
            "--registries needs --key-file, the operators' key (or MESH_SERVICE_KEY_FILE)."
        )
    return Access(addresses, key_file, security_read_once(load(TlsSettings)))


async def _look(access: Access) -> Listing:
    async with connect(access, PULLS) as sides:
        return await look(sides, datetime.now(UTC))


async def _resolve(access: Access, gid: str, output: Format) -> bool:
    """Returns True when both sides have the same outcome."""
    async with connect(access, PULLS) as sides:
        listing = await look(sides, datetime.now(UTC))
        before = listing.find(gid)
        if before is None and not listing.is_cut and not listing.failures:
            return await _report_ended(sides, gid, output)
        resolution = await resolve(sides, gid)
    if output is Format.JSON:
        print_json(resolution_json(gid, resolution))
    else:
        Reporter().show_resolution(resolution, before)
    return resolution.is_complete


async def _report_ended(sides: Sides, gid: str, output: Format) -> bool:
    found = await sides.coordinator.decisions([gid])
    decision = next((each for each in found if each.gid == gid), None)
    if output is Format.JSON:
        print_json(ended_json(gid, decision))
    else:
        Reporter().show_ended(gid, decision)
    return decision is not None
