"""Tables of the present code beside another revision, and the ratios of their pairs."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.bench.against.alternation import OURS, PairedFigures
from proof.bench.figures import Point, Sample, Series, Spread, spread_of
from proof.bench.meters.idle import IdleSample
from proof.bench.pairs import ratio
from proof.bench.tables.cells import range_cell, spread_cell
from proof.bench.tables.floor import show_floor
from proof.bench.tables.idle import IDLE_FIGURES, of_part, parts_of
from proof.bench.tables.report import as_json, show_faults, show_machine, write_document

Figure = Callable[[Sample], float]

FIGURES: Mapping[str, tuple[Figure, int]] = {
    "a second": (lambda s: s.operations_per_second, 0),
    "p50 ms": (lambda s: s.p50_ms, 2),
    "p99 ms": (lambda s: s.p99_ms, 1),
    "CPU ms each": (lambda s: s.cpu_ms_each, 3),
    "of it PostgreSQL": (lambda s: s.postgres_cpu_ms_each, 3),
    "WAL flushes each": (lambda s: s.wal_flushes_each, 2),
}
"""The figures of a point, with their decimal places."""

LEGEND = f"""\
[dim]How to read it (more in docs/bench.md). Each figure is a median, with the lowest and highest
in brackets. The last column is the median of the ratios of the pairs, {OURS} divided by the
other revision: a pair is two windows one right after the other. If 1 lies in its range, the run
shows no difference. If not, that may still be chance: for the same code all of 2 pairs lie on one
side of 1 in every second run, all of 3 in a quarter of the runs, all of 6 in 3 % of them.[/dim]
"""


def show(console: Console, figures: PairedFigures) -> None:
    """Prints everything, the faults last."""
    show_machine(console, figures.ours)
    console.print(LEGEND)
    if figures.ours.idle:
        console.print(_idle_table(figures.ours.idle, figures.theirs.idle, figures.revision))
    for ours, theirs in zip(figures.ours.series, figures.theirs.series, strict=True):
        console.print(_table(ours, theirs, figures.revision))
    for name, side in figures.sides.items():
        console.print(f"[bold]{escape(name)}[/bold]")
        show_floor(console, side)
        show_faults(console, side)


def write_json(path: Path, figures: PairedFigures) -> None:
    """Every sample of both, and the ratios of the pairs."""
    idle = figures.ours.idle, figures.theirs.idle
    document = {
        "revision": figures.revision,
        "commit": figures.commit,
        "ours": as_json(figures.ours),
        "theirs": as_json(figures.theirs),
        "ratios": {
            ours.name: [_ratios_as_json(*pair) for pair in _pairs(ours, theirs)]
            for ours, theirs in zip(figures.ours.series, figures.theirs.series, strict=True)
        },
        "idle_ratios": {
            part: {name: _as_json(ratio(*sides)) for name, *sides in _idle_figures(*idle, part)}
            for part in parts_of([*idle[0], *idle[1]])
        },
    }
    write_document(path, document)


def _table(ours: Series, theirs: Series, revision: str) -> Table:
    table = _empty_table(ours.title[0].upper() + ours.title[1:], ours.clients, revision)
    for our_point, their_point in _pairs(ours, theirs):
        for name, (figure, digits) in FIGURES.items():
            table.add_row(
                str(our_point.connection_count),
                name,
                range_cell(their_point, figure, digits),
                range_cell(our_point, figure, digits),
                spread_cell(ratio(our_point.values(figure), their_point.values(figure))),
            )
        table.add_section()
    return table


def _idle_table(ours: Sequence[IdleSample], theirs: Sequence[IdleSample], revision: str) -> Table:
    table = _empty_table("The mesh without load", "part", revision)
    for part in parts_of([*ours, *theirs]):
        for name, *sides in _idle_figures(theirs, ours, part):
            cells = [spread_cell(spread_of(side)) for side in sides]
            table.add_row(part, name, *cells, spread_cell(ratio(*sides[::-1])))
        table.add_section()
    return table


def _idle_figures(
    first: Sequence[IdleSample], second: Sequence[IdleSample], part: str
) -> Iterator[tuple[str, list[float], list[float]]]:
    """The figures of a part of both, by name."""
    for name, figure in IDLE_FIGURES.items():
        of = of_part(part, figure)
        yield name, [of(sample) for sample in first], [of(sample) for sample in second]


def _empty_table(title: str, rows: str, revision: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(rows, justify="right")
    table.add_column("figure", no_wrap=True)
    for heading in (escape(revision), OURS, "ratio of the pairs"):
        table.add_column(heading, justify="right")
    return table


def _pairs(ours: Series, theirs: Series) -> Iterator[tuple[Point, Point]]:
    yield from zip(ours.points, theirs.points, strict=True)


def _ratios_as_json(ours: Point, theirs: Point) -> dict[str, object]:
    ratios = {
        name: ratio(ours.values(figure), theirs.values(figure))
        for name, (figure, _) in FIGURES.items()
    }
    return {
        "connections": ours.connection_count,
        **{name: _as_json(spread) for name, spread in ratios.items()},
    }


def _as_json(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else dataclasses.asdict(spread)
