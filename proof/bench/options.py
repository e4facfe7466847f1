"""The options of the bench as a plan of what is measured."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from proof.bench.flood import FLOOD
from proof.bench.load import ghz
from proof.bench.load.scenarios import GIFTS
from proof.bench.neighbours import NEIGHBOURS
from proof.bench.plan import (
    COMMITS,
    GHZ,
    IDLE,
    IDLE_CONNECTIONS,
    KINDS,
    MOST_GIFT_CONNECTIONS,
    Plan,
)
from proof.bench.start_times import START

NO_GHZ = f"ghz, which is not installed. To have it: {ghz.INSTALL}"


ALL_KINDS = ",".join(KINDS)
LONGEST_WINDOW_SECONDS = 600
"""Access tokens are valid for 15 minutes, and are renewed between two windows."""

Connections = Annotated[
    str, typer.Option(help="Numbers of concurrent connections: one point for each.")
]
Only = Annotated[
    str,
    typer.Option(help=f"Some of these kinds of load, or {FLOOD}, {NEIGHBOURS} or {START} alone."),
]
Seconds = Annotated[
    float,
    typer.Option(
        min=1,
        max=LONGEST_WINDOW_SECONDS,
        help="Length of each window; half of it for reads and ghz, three times for idle.",
    ),
]
Rounds = Annotated[int, typer.Option(min=1, help="Windows for each point.")]
Players = Annotated[
    int | None,
    typer.Option("--players", min=1, help="Number of players; by default one per connection."),
]
MeshFile = Annotated[
    Path | None,
    typer.Option("--mesh", help="The var/mesh.json of a running mesh, to measure that one."),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="REV", help="A git revision to compare with: measures both in turn, in pairs."
    ),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the figures as JSON.")]


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
    least_count = max(counts) if set(kinds) - {IDLE, COMMITS} else IDLE_CONNECTIONS
    pairs = min(max(counts), MOST_GIFT_CONNECTIONS) if GIFTS.name in kinds else 0
    player_count = player_count or max(least_count, 2 * pairs)
    if player_count < least_count:
        raise typer.BadParameter("every connection needs a player of its own: raise --players")
    return Plan(counts, seconds, rounds, player_count, kinds)


def without_missing_ghz(plan: Plan, program: str | None) -> tuple[Plan, list[str]]:
    """The plan for this machine, and what it leaves out. `program` is ghz's path."""
    if GHZ not in plan.kinds or program is not None:
        return plan, []
    return replace(plan, kinds=[kind for kind in plan.kinds if kind != GHZ]), [NO_GHZ]
