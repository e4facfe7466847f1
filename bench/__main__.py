"""`python -m bench`: pulls a second, how long they take, and what each costs.

Starts a mesh of its own, with the real settings and its data on a disk, unless it is
told of one that runs. Exit status: 0 when everything was measured, without an error and
with every invariant intact; 1 otherwise. No figure is judged.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from bench import machine, players, report
from bench.counters import CounterReader
from bench.errors import BenchFailed
from bench.figures import Figures
from bench.plan import PLAIN_COMMITS, Plan, Run
from bench.scenarios import SINGLE_PULL
from bench.target import running_mesh, started_mesh
from tests.invariants import broken_invariants
from tests.stack import Mesh

WIDTH_OF_FILES = 150
LONGEST_RUN_SECONDS = 3000.0
"""Players' tokens are valid for an hour, and are made once."""

app = typer.Typer(add_completion=False)


def connection_counts_of(text: str) -> list[int]:
    """`1,16,64` as numbers, none twice. Raises typer.BadParameter."""
    try:
        counts = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise typer.BadParameter("must be whole numbers from 1, such as 1,16,64")
    return counts


def plan_of(connections: str, seconds: float, rounds: int, player_count: int) -> Plan:
    """Raises typer.BadParameter when it can't be carried out."""
    plan = Plan(connection_counts_of(connections), seconds, rounds, player_count)
    if player_count < max(plan.connection_counts):
        raise typer.BadParameter("every connection needs a player of its own: raise --players")
    if plan.duration_seconds > LONGEST_RUN_SECONDS:
        raise typer.BadParameter(
            f"this would take {plan.duration_seconds / 60:.0f} minutes, and players' tokens "
            f"last for an hour: at most {LONGEST_RUN_SECONDS / 60:.0f} minutes"
        )
    return plan


@app.command()
def bench(
    connections: Annotated[
        str, typer.Option(help="How many connections ask at once: one point for each.")
    ] = "1,16,64",
    seconds: Annotated[float, typer.Option(min=1, help="Of each window that is measured.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="Windows for each point.")] = 3,
    player_count: Annotated[
        int, typer.Option("--players", min=1, help="Who pull; each connection has its own.")
    ] = 256,
    mesh_file: Annotated[
        Path | None,
        typer.Option("--mesh", help="The var/mesh.json of a mesh that runs, to measure that one."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where the figures go, for tools.")
    ] = None,
) -> None:
    """Measure pulls through REST, beside two plain commits on the same servers."""
    plan = plan_of(connections, seconds, rounds, player_count)
    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if is_terminal else WIDTH_OF_FILES)
    figures = _measure(console, plan, mesh_file)
    report.show(console, figures)
    if json_file is not None:
        report.write_json(json_file, figures)
    errors = [point.error_count for point in (*figures.pulls, *figures.plain_commits)]
    raise typer.Exit(1 if any(errors) or figures.broken_invariants else 0)


def _measure(console: Console, plan: Plan, mesh_file: Path | None) -> Figures:
    target: AbstractContextManager[Mesh]
    if mesh_file is None:
        console.print("Starting a mesh of its own.")
        target = started_mesh()
    else:
        target = nullcontext(running_mesh(mesh_file))
    with target as mesh, closing(CounterReader(mesh.read()["databases"])) as counters:
        facts = machine.facts(mesh, counters, plan.window_seconds, plan.round_count)
        run = Run(plan, mesh, counters, _tokens(console, mesh, plan.player_count))
        for what in track(run.samples(), "Measuring", plan.sample_count, console=console):
            console.print(f"[dim]{what}[/dim]")
        return Figures(
            machine=facts,
            speeds=run.speeds,
            pulls=run.points(SINGLE_PULL.name),
            plain_commits=run.points(PLAIN_COMMITS),
            broken_invariants=broken_invariants(mesh),
        )


def _tokens(console: Console, mesh: Mesh, count: int) -> Sequence[str]:
    made = players.make_players(mesh.gateway, count)
    return list(track(made, f"Registering {count} players", count, console=console))


def main() -> None:
    try:
        app()
    except BenchFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
