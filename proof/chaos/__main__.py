"""Proof that no single process matters: `python -m proof.chaos`.

Exit status: 0 when no caller saw an avoidable error and all invariants hold over all data;
else 1.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import structlog
import typer

from proof.chaos.call_log import figures
from proof.chaos.faults import Fault, faults_of
from proof.chaos.run import Chaos, FaultResult, invariants
from proof.load.seeded_players import make_players
from proof.stack import RUNNER, Mesh, MeshNotUp, start_mesh

PLAYER_COUNT = 40
GATEWAY_COUNT = 2
HEAD = (
    "| fault | calls | errors | unavoidable | worst | p99 | out after | back after |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main(
    minutes: Annotated[float, typer.Option(min=0.0, help="Each fault runs at least once.")] = 0.0,
    seed: Annotated[int, typer.Option(help="0 for a random one.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only faults whose names contain this.")
    ] = None,
    profile: Annotated[str, typer.Option(help="The mesh's profile, as for make up.")] = "embedded",
    retries: Annotated[bool, typer.Option(help="Without retries, callers see errors.")] = True,
) -> None:
    """Harm one process of a mesh after the other under load, and report what callers saw."""
    # Only the table goes to standard output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    seed = seed or random.SystemRandom().randrange(1, 2**31)
    typer.echo(f"Seed {seed}.")
    typer.echo(f"Starting a mesh, profile {profile}.", err=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        # The user that PostgreSQL runs as passes through.
        Path(folder).chmod(0o755)
        try:
            mesh = start_mesh(
                Path(folder) / "var",
                (*RUNNER, "--gateways", str(GATEWAY_COUNT), "--profile", profile),
            )
        except MeshNotUp as error:
            sys.exit(str(error))
        try:
            faults = _chosen(faults_of(mesh), only or [])
            typer.echo(
                f"{len(faults)} faults, each at least once, for {minutes:g} minutes.", err=True
            )
            is_well = asyncio.run(_run(mesh, faults, minutes * 60, seed, retries=retries))
        finally:
            mesh.stop()
    raise typer.Exit(0 if is_well else 1)


def _chosen(faults: Sequence[Fault], words: Sequence[str]) -> list[Fault]:
    """The faults whose names contain one of the words; all if there are no words."""
    chosen = [fault for fault in faults if not words or any(word in fault.name for word in words)]
    if not chosen:
        raise typer.BadParameter(f"no fault has {' or '.join(words)} in its name")
    return chosen


async def _run(
    mesh: Mesh, faults: list[Fault], seconds: float, seed: int, *, retries: bool
) -> bool:
    chaos = Chaos(mesh, make_players(mesh, PLAYER_COUNT), seed, retries=retries)
    until = time.monotonic() + seconds
    errors: Counter[str] = Counter()
    typer.echo(HEAD)
    async for result in chaos.run(faults, lambda: time.monotonic() < until):
        errors += result.errors
        typer.echo(line(result))
    broken = await invariants(mesh)
    all_figures = figures(chaos.calls.all)
    typer.echo(f"\n{all_figures.count} calls; avoidable errors: {_counts(errors)}.")
    typer.echo(f"Invariants over all data: {'; '.join(broken) or 'all hold'}.")
    return not errors and not broken


def line(result: FaultResult) -> str:
    """A row below HEAD. For plain channels it has only the errors."""
    out = result.out_after_seconds
    cells = (
        result.fault.name,
        result.figures.count,
        _counts(result.errors),
        _counts(result.unavoidable),
        f"{result.figures.worst_seconds * 1000:.0f} ms",
        f"{result.figures.p99_seconds * 1000:.0f} ms",
        "-" if out is None else f"{out:.2f} s",
        f"{result.back_after_seconds:.1f} s",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _counts(errors: Counter[str]) -> str:
    return ", ".join(f"{count} {error}" for error, count in errors.most_common()) or "0"


if __name__ == "__main__":
    typer.run(main)
