"""Transactions for operators: `python -m deploy.tx [list | resolve GID]`.

Exit status: 0 as asked; 1 failed, refused, or not complete; 3 nothing runs.
"""

import asyncio
import logging
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer

from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.tx.listing import look
from deploy.tx.report import Reporter, described
from deploy.tx.resolution import resolve
from deploy.tx.sides import Access, NothingRuns, Services, Sides, access_to, reach
from mesh.config import load
from mesh.errors import MeshError
from mesh.tls.security import security_read_once
from mesh.tls.settings import TlsSettings
from mesh.txn.model import gid_age_seconds

YOUNG_SECONDS = 10.0
"""Below this age a transaction may well be at work: its coordinator may only be slow."""
NOTHING_RUNS = 3

app = typer.Typer(
    add_completion=False,
    help="Lists the transactions that are in flight or in doubt, and settles one by the "
    "protocol. Works on the mesh of `make up`, or on any other by its registries and key.",
)


@dataclass(frozen=True, slots=True)
class Target:
    """Which mesh, and what its services are called."""

    access: Access
    services: Services


@app.callback(invoke_without_command=True)
def choose(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where `make up` keeps mesh.json.")] = DEFAULT_FOLDER,
    registries: Annotated[
        str,
        typer.Option(
            envvar="MESH_REGISTRIES",
            help="host:port of each registry, separated by commas: for a mesh that `make up` "
            "did not start. Needs --key-file.",
        ),
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(envvar="MESH_SERVICE_KEY_FILE", help="The operators' key."),
    ] = None,
    first: Annotated[str, typer.Option(help="Who is committed first.")] = "account_svc",
    second: Annotated[str, typer.Option(help="Who is committed second.")] = "gacha_svc",
    coordinator: Annotated[str, typer.Option(help="Who keeps the decisions.")] = "gacha_svc",
) -> None:
    services = Services(first, second, coordinator)
    addresses = tuple(part.strip() for part in registries.split(",") if part.strip())
    if not addresses:
        access = access_to(Layout(folder.resolve()))
    elif key_file is None:
        raise LocalRunError("--registries needs --key-file, the operators' key.")
    else:
        access = Access(addresses, key_file, security_read_once(load(TlsSettings)))
    context.obj = Target(access, services)
    if context.invoked_subcommand is None:
        show_list(context)


@app.command("list")
def show_list(context: typer.Context) -> None:
    """Show what is in flight and in doubt on both sides. Changes nothing."""
    asyncio.run(_list(context.obj, Reporter()))


@app.command("resolve")
def settle(
    context: typer.Context,
    gid: Annotated[str, typer.Argument(help="The transaction, as `list` shows it.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, even if the transaction is young.")
    ] = False,
) -> None:
    """Force the outcome of one transaction unless it is decided, and carry it out."""
    age_seconds = max(0.0, gid_age_seconds(gid, time.time()))
    if age_seconds < YOUNG_SECONDS and not yes:
        typer.confirm(
            f"The transaction is only {age_seconds:.1f} s old: its coordinator may still be at "
            "work. Settle it now (--yes, or make's YES=1, does not ask)?",
            abort=True,
        )
    if not asyncio.run(_resolve(context.obj, gid, Reporter())):
        raise typer.Exit(1)


async def _list(target: Target, reporter: Reporter) -> None:
    async with reach(target.access, target.services) as sides:
        reporter.show(await look(sides, datetime.now(UTC)), target.services)


async def _resolve(target: Target, gid: str, reporter: Reporter) -> bool:
    """Whether the transaction has ended alike on both sides."""
    async with reach(target.access, target.services) as sides:
        listing = await look(sides, datetime.now(UTC))
        before = listing.find(gid)
        if before is None and not listing.is_cut and not listing.failures:
            return await _tell_ended(sides, gid, reporter)
        resolution = await resolve(sides, gid)
        reporter.tell(resolution, before)
        return resolution.is_complete


async def _tell_ended(sides: Sides, gid: str, reporter: Reporter) -> bool:
    found = await sides.coordinator.decisions([gid])
    decision = next((each for each in found if each.gid == gid), None)
    reporter.tell_ended(gid, decision)
    return decision is not None


def main() -> None:
    # What goes wrong is told in sentences here; the log lines of the calls below would
    # stand between them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        app()
    except NothingRuns as error:
        Reporter().say(str(error))
        sys.exit(NOTHING_RUNS)
    except LocalRunError as error:
        sys.exit(str(error))
    except MeshError as error:
        sys.exit(described(error))


if __name__ == "__main__":
    main()
