"""What a pull costs as a multiple of two plain commits, the least that it could cost.

Both are measured on the same servers in the same round, so the multiple says the same on a fast
and on a slow machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from proof.bench.figures import Figures, Point, Sample, Spread
from proof.bench.load.scenarios import PULLS
from proof.bench.pairs import ratio
from proof.bench.plan import COMMITS
from proof.bench.tables.cells import median_cell, spread_cell


@dataclass(frozen=True, slots=True)
class FloorRow:
    """Pulls over `connection_count` connections, and commits by `client_count` clients. The
    ratios of the rounds are None if nothing completed; `p50` also if the two counts differ."""

    connection_count: int
    client_count: int
    cpu: Spread | None
    p50: Spread | None


def floor_rows(figures: Figures) -> Iterator[FloorRow]:
    """A row for each number of connections of pulls; none if either was not measured."""
    for pulls, commits in _points(figures):
        is_same = pulls.connection_count == commits.connection_count
        yield FloorRow(
            pulls.connection_count,
            commits.connection_count,
            cpu=ratio(pulls.values(_pull_cpu_ms), commits.values(_commits_cpu_ms)),
            p50=ratio(pulls.values(_p50_ms), commits.values(_p50_ms)) if is_same else None,
        )


def show_floor(console: Console, figures: Figures) -> None:
    """Prints nothing if either was not measured."""
    table = Table(title="Pulls as a multiple of two plain commits", title_justify="left")
    for heading in (
        *("connections", "CPU ms\na pull", "PostgreSQL's CPU ms\ntwo commits", "CPU\nmultiple"),
        *("p50 ms\na pull", "p50 ms\ntwo commits", "p50\nmultiple"),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for (pulls, commits), row in zip(_points(figures), floor_rows(figures), strict=True):
        is_same = row.connection_count == row.client_count
        clients = "" if is_same else f" [dim]({row.client_count} clients)[/dim]"
        table.add_row(
            str(row.connection_count),
            median_cell(pulls, _pull_cpu_ms, 3),
            median_cell(commits, _commits_cpu_ms, 3) + clients,
            spread_cell(row.cpu),
            median_cell(pulls, _p50_ms, 2),
            median_cell(commits, _p50_ms, 2) if is_same else "-",
            spread_cell(row.p50),
        )
    if table.row_count:
        console.print(table)


def _points(figures: Figures) -> Iterator[tuple[Point, Point]]:
    """Pulls, and the commits of the same number of clients, or of the most below it: a server has
    room for fewer clients than the gateway."""
    by_name = {series.name: series.points for series in figures.series}
    for pulls in by_name.get(PULLS.name, ()):
        below = [
            point
            for point in by_name.get(COMMITS, ())
            if point.connection_count <= pulls.connection_count
        ]
        if below:
            yield pulls, max(below, key=lambda point: point.connection_count)


def _pull_cpu_ms(sample: Sample) -> float:
    return sample.cpu_ms_each


def _commits_cpu_ms(sample: Sample) -> float:
    """Without the mesh's other processes, which do nothing for the commits."""
    return sample.postgres_cpu_ms_each


def _p50_ms(sample: Sample) -> float:
    return sample.p50_ms
