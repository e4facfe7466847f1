"""`python -m proof.bench`: pulls, purchases, gifts and reads per second, their latencies, and the
cost of each.

Starts its own mesh, with the real settings and its data on a disk, or measures a running one
(--mesh). Exit status: 0 if everything was measured, without an error and with every invariant
intact; 1 otherwise. It does not judge the figures.
"""

import signal
import sys

import typer

from proof.bench import commands
from proof.bench.errors import BenchFailed
from proof.bench.flood import FLOOD
from proof.bench.load import ghz
from proof.bench.neighbours import NEIGHBOURS
from proof.bench.options import (
    ALL_KINDS,
    Against,
    Connections,
    JsonFile,
    MeshFile,
    Only,
    Players,
    Rounds,
    Seconds,
    plan_of,
    without_missing_ghz,
)
from proof.bench.start_times import START
from proof.stack import MeshNotUp

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    connections: Connections = "1,16,64,256",
    only: Only = ALL_KINDS,
    seconds: Seconds = 4.0,
    rounds: Rounds = 3,
    player_count: Players = None,
    mesh_file: MeshFile = None,
    against: Against = None,
    json_file: JsonFile = None,
) -> None:
    """Measure pulls, purchases, gifts and reads through REST, and compare pulls with two plain
    commits on the same servers and with ghz directly at gacha_svc."""
    console = commands.new_console()
    if against is not None and (mesh_file is not None or only in (FLOOD, NEIGHBOURS)):
        raise typer.BadParameter(
            f"--against compares meshes of its own: leave out --mesh, {FLOOD} and {NEIGHBOURS}"
        )
    if only == START:
        if mesh_file is not None:
            raise typer.BadParameter(f"{START} starts meshes of its own: leave out --mesh")
        raise typer.Exit(commands.measure_starts(console, rounds, against, json_file))
    if only == FLOOD:
        raise typer.Exit(commands.measure_flood(console, seconds, rounds, mesh_file))
    if only == NEIGHBOURS:
        raise typer.Exit(commands.measure_neighbours(console, seconds, rounds, mesh_file))
    plan = plan_of(connections, seconds, rounds, player_count, only)
    plan, left_out = without_missing_ghz(plan, ghz.find_ghz())
    if against is None:
        status = commands.measure_plan(console, plan, left_out, mesh_file, json_file)
    else:
        status = commands.measure_against(console, plan, left_out, against, json_file)
    raise typer.Exit(status)


def main() -> None:
    # So that SIGTERM, like Ctrl-C, leaves no folder and no worktree behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (BenchFailed, MeshNotUp) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
