"""`python -m proof.bench`: pulls, purchases, gifts and reads per second, their latencies, and the
cost of each.

Starts its own mesh, with the real settings and its data on a disk, or measures a running one
(--mesh). Exit status: 0 if everything was measured, without an error and with every invariant
intact; 1 otherwise. It does not judge the figures.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from proof.bench import flood, neighbours
from proof.bench.errors import BenchFailed
from proof.bench.figures import Figures
from proof.bench.flood import FLOOD
from proof.bench.load import ghz
from proof.bench.load.scenarios import GIFTS
from proof.bench.measure import Meters
from proof.bench.measured_mesh import running_mesh, started_mesh
from proof.bench.meters import machine
from proof.bench.meters.counters import CounterReader
from proof.bench.neighbours import NEIGHBOURS
from proof.bench.plan import GHZ, KINDS, MOST_GIFT_CONNECTIONS, Plan, Run
from proof.bench.tables import flood as flood_tables
from proof.bench.tables import neighbours as neighbour_tables
from proof.bench.tables import report
from proof.bench.token_pool import TokenPool
from proof.invariants import broken_invariants
from proof.stack import Mesh, MeshNotUp

WIDTH_OF_FILES = 150
LONGEST_WINDOW_SECONDS = 600
"""Access tokens are valid for 15 minutes, and are renewed between two windows."""
NO_GHZ = f"ghz, which is not installed. To have it: {ghz.INSTALL}"

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


def kinds_of(text: str) -> list[str]:
    """`pulls,items` as kinds of load, in the order of a round. Raises typer.BadParameter."""
    requested = {part.strip() for part in text.split(",")}
    if not requested <= set(KINDS):
        raise typer.BadParameter(f"must be some of {','.join(KINDS)}")
    return [kind for kind in KINDS if kind in requested]


def plan_of(
    connections: str, seconds: float, rounds: int, player_count: int | None, only: str
) -> Plan:
    """The number of players, by default one per connection, and two for each of up to
    MOST_GIFT_CONNECTIONS if gifts are sent. Raises typer.BadParameter when it is too small."""
    counts, kinds = connection_counts_of(connections), kinds_of(only)
    pairs = min(max(counts), MOST_GIFT_CONNECTIONS) if GIFTS.name in kinds else 0
    player_count = player_count or max(*counts, 2 * pairs)
    plan = Plan(counts, seconds, rounds, player_count, kinds)
    if player_count < max(counts):
        raise typer.BadParameter("every connection needs a player of its own: raise --players")
    return plan


@app.command()
def bench(
    connections: Annotated[
        str, typer.Option(help="Numbers of concurrent connections: one point for each.")
    ] = "1,16,64,256",
    only: Annotated[
        str, typer.Option(help=f"Some of these kinds of load, or {FLOOD} or {NEIGHBOURS} alone.")
    ] = ",".join(KINDS),
    seconds: Annotated[
        float,
        typer.Option(
            min=1,
            max=LONGEST_WINDOW_SECONDS,
            help="Length of each window; half of it for reads and ghz.",
        ),
    ] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="Windows for each point.")] = 3,
    player_count: Annotated[
        int | None,
        typer.Option("--players", min=1, help="Number of players; by default one per connection."),
    ] = None,
    mesh_file: Annotated[
        Path | None,
        typer.Option("--mesh", help="The var/mesh.json of a running mesh, to measure that one."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the figures as JSON.")
    ] = None,
) -> None:
    """Measure pulls, purchases, gifts and reads through REST, and compare pulls with two plain
    commits on the same servers and with ghz directly at gacha_svc."""
    if only == FLOOD:
        raise typer.Exit(_flood(seconds, rounds, mesh_file))
    if only == NEIGHBOURS:
        raise typer.Exit(_neighbours(seconds, rounds, mesh_file))
    plan, left_out = without_missing_ghz(
        plan_of(connections, seconds, rounds, player_count, only), ghz.find_ghz()
    )
    console = _console()
    figures = _measure(console, plan, left_out, mesh_file)
    report.show(console, figures)
    if json_file is not None:
        report.write_json(json_file, figures)
    raise typer.Exit(1 if figures.error_count or figures.broken_invariants else 0)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)


def _flood(seconds: float, rounds: int, mesh_file: Path | None) -> int:
    """Measures a flood of logins; returns the exit status."""
    console = _console()
    target = started_mesh() if mesh_file is None else nullcontext(running_mesh(mesh_file))
    with target as mesh:
        run = flood.FloodRun(mesh, seconds, rounds, flood.TIMES_CAPACITY)
        for figures in track(run.measure(), "Measuring", 1 + rounds, console=console):
            whole = figures
        flood_tables.show(console, whole)
        broken = broken_invariants(mesh)
        console.print(f"Broken invariants: {broken or 'none'}.")
    return 1 if broken or whole.error_count else 0


def _neighbours(seconds: float, rounds: int, mesh_file: Path | None) -> int:
    """Measures what one busy player does to himself and to others; returns the exit status."""
    if mesh_file is not None:
        raise typer.BadParameter(f"{NEIGHBOURS} needs a mesh of its own: leave out --mesh")
    console = _console()
    with started_mesh(neighbours.PULL_LIMIT) as mesh:
        run = neighbours.NeighbourRun(mesh, seconds, rounds)
        for figures in track(run.measure(), "Measuring", rounds, console=console):
            whole = figures
        neighbour_tables.show(console, whole)
        broken = broken_invariants(mesh)
        console.print(f"Broken invariants: {broken or 'none'}.")
    return 1 if broken or whole.error_count else 0


def without_missing_ghz(plan: Plan, program: str | None) -> tuple[Plan, list[str]]:
    """The plan for this machine, and what it leaves out. `program` is ghz's path."""
    if GHZ not in plan.kinds or program is not None:
        return plan, []
    return replace(plan, kinds=[kind for kind in plan.kinds if kind != GHZ]), [NO_GHZ]


def _measure(
    console: Console, plan: Plan, left_out: Sequence[str], mesh_file: Path | None
) -> Figures:
    target: AbstractContextManager[Mesh]
    for each in left_out:
        console.print(f"[yellow]Leaves out:[/yellow] {each}", soft_wrap=True)
    console.print(
        f"Measures {plan.sample_count} windows in {plan.round_count} rounds, which takes about "
        f"{plan.duration_seconds:.0f} s after the start."
    )
    if mesh_file is None:
        console.print("Starting a mesh of its own.")
        target = started_mesh()
    else:
        target = nullcontext(running_mesh(mesh_file))
    with target as mesh, closing(CounterReader(mesh.read()["databases"])) as counters:
        facts = machine.facts(mesh, counters, plan.window_seconds, plan.round_count)
        pool = _register_players(console, mesh, plan.player_count)
        run = Run(plan, Meters(mesh, counters), pool)
        for what in track(run.samples(), "Measuring", plan.sample_count, console=console):
            console.print(f"[dim]{what}[/dim]")
        console.print("Checking the invariants over all data.")
        return Figures(
            machine=facts,
            speeds=run.speeds,
            series=run.series(),
            left_out=left_out,
            broken_invariants=broken_invariants(mesh),
        )


def _register_players(console: Console, mesh: Mesh, count: int) -> TokenPool:
    pool = TokenPool(mesh.gateway, mesh.trust)
    for _ in track(pool.make(count), f"Registering {count} players", count, console=console):
        pass
    return pool


def main() -> None:
    try:
        app()
    except (BenchFailed, MeshNotUp) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
