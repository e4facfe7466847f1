"""What a run prints: tables for people, and the same figures as JSON for tools."""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.figures import Figures, Point, Sample, times_plain_commits
from bench.yardstick import median_speed

Cell = Callable[[Point], str]

_LOAD: tuple[tuple[str, Cell], ...] = (
    ("a second", lambda p: _range(p, lambda s: s.operations_per_second, 0)),
    ("p50 ms", lambda p: _range(p, lambda s: s.p50_ms, 2)),
    ("p99 ms", lambda p: _range(p, lambda s: s.p99_ms, 1)),
    ("CPU ms\neach", lambda p: _median(p, lambda s: s.cpu_ms_each, 3)),
    ("transactions\neach", lambda p: _median(p, lambda s: s.transactions_each, 2)),
    ("WAL flushes\neach", lambda p: _median(p, lambda s: s.wal_flushes_each, 2)),
    ("WAL kB\neach", lambda p: _median(p, lambda s: s.wal_bytes_each / 1000, 2)),
    ("cores busy\nelsewhere", lambda p: f"{p.median(lambda s: s.elsewhere_cores):.2f}"),
    ("errors", lambda p: f"[bold red]{p.error_count}[/bold red]" if p.error_count else "0"),
)


def show(console: Console, figures: Figures) -> None:
    """Prints everything."""
    _show_machine(console, figures)
    _show_load(console, "Pulls through REST", "connections", figures.pulls)
    _show_load(console, "Two plain local commits", "clients", figures.plain_commits)
    _show_cpu(console, "CPU ms for each pull", "connections", figures.pulls)
    _show_cpu(console, "CPU ms for each two plain commits", "clients", figures.plain_commits)
    _show_ratio(console, figures)
    _show_errors(console, [*figures.pulls, *figures.plain_commits])
    _show_invariants(console, figures)


def write_json(path: Path, figures: Figures) -> None:
    """Every sample of every point, and what the tables derive from them."""
    points = {
        "pulls": [_point_as_json(point) for point in figures.pulls],
        "plain_commits": [_point_as_json(point) for point in figures.plain_commits],
    }
    document = {
        "machine": figures.machine,
        "speeds": figures.speeds,
        **points,
        "lone_pull_p50_in_plain_commits": times_plain_commits(figures),
        "broken_invariants": figures.broken_invariants,
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _point_as_json(point: Point) -> dict[str, object]:
    names = ("operations_per_second", "p50_ms", "p99_ms", "cpu_ms_each")
    spreads = {name: dataclasses.asdict(point.spread(operator.attrgetter(name))) for name in names}
    samples = [
        dataclasses.asdict(sample) | {"cpu_ms_each": sample.cpu_ms_each} for sample in point.samples
    ]
    return {
        "name": point.name,
        "connections": point.connection_count,
        **spreads,
        "errors": point.error_count,
        "first_error": point.first_error,
        "samples": samples,
    }


def _show_machine(console: Console, figures: Figures) -> None:
    for fact, value in figures.machine.items():
        console.print(f"[dim]{fact:>20}[/dim]  {escape(value)}", soft_wrap=True)
    speed = median_speed(figures.speeds)
    console.print(
        f"[dim]{'speed just now':>20}[/dim]  {speed.additions_ms:.0f} ms for a million additions "
        f"in Python, {speed.wake_up_us:.0f} µs to wake up another process\n"
    )


def _show_load(console: Console, title: str, of: str, points: Sequence[Point]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column(of, justify="right", no_wrap=True)
    for heading, _ in _LOAD:
        table.add_column(heading, justify="right", no_wrap=True)
    for point in points:
        table.add_row(str(point.connection_count), *(cell(point) for _, cell in _LOAD))
    console.print(table)


def _show_cpu(console: Console, title: str, of: str, points: Sequence[Point]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("process", no_wrap=True)
    for point in points:
        table.add_column(_counted(point.connection_count, of), justify="right")
    for part in _parts(points, lambda sample: list(sample.mesh_cpu_ms_each)):
        table.add_row(part, *_cpu_cells(points, partial(_of_mesh, part)))
    table.add_section()
    table.add_row("the mesh", *_cpu_cells(points, lambda s: s.cpu_ms_each), style="bold")
    table.add_section()
    for part in _parts(points, lambda sample: list(sample.beside_cpu_ms_each)):
        cells = _cpu_cells(points, partial(_of_beside, part))
        table.add_row(f"beside: {part}", *cells, style="dim")
    console.print(table)


def _show_ratio(console: Console, figures: Figures) -> None:
    times = times_plain_commits(figures)
    if times is not None:
        console.print(f"A lone pull's median is {times:.2f} times that of two plain commits.")


def _show_errors(console: Console, points: Sequence[Point]) -> None:
    for point in points:
        if point.error_count:
            console.print(
                f"[bold red]{point.error_count} ERRORS[/bold red] of {point.name} over "
                f"{point.connection_count}; the first: {escape(point.first_error)}"
            )


def _show_invariants(console: Console, figures: Figures) -> None:
    if not figures.broken_invariants:
        console.print("Afterwards every invariant holds over all data of both databases.")
    for broken in figures.broken_invariants:
        console.print(f"[bold red]BROKEN INVARIANT[/bold red] {escape(broken)}")


def _counted(count: int, plural: str) -> str:
    return f"1 {plural.removesuffix('s')}" if count == 1 else f"{count} {plural}"


def _parts(points: Sequence[Point], names: Callable[[Sample], list[str]]) -> list[str]:
    """All that any sample has, in the order in which they appear."""
    return list(
        dict.fromkeys(
            name for point in points for sample in point.samples for name in names(sample)
        )
    )


def _of_mesh(part: str, sample: Sample) -> float:
    return sample.mesh_cpu_ms_each[part]


def _of_beside(part: str, sample: Sample) -> float:
    return sample.beside_cpu_ms_each[part]


def _cpu_cells(points: Sequence[Point], figure: Callable[[Sample], float]) -> list[str]:
    return [_median(point, figure, 3) for point in points]


def _median(point: Point, figure: Callable[[Sample], float], digits: int) -> str:
    """A dash where nothing was completed, and so nothing was measured."""
    if not any(sample.operation_count for sample in point.samples):
        return "-"
    return f"{point.median(figure):,.{digits}f}"


def _range(point: Point, figure: Callable[[Sample], float], digits: int) -> str:
    """The median, and the lowest and the highest where there are several."""
    middle = _median(point, figure, digits)
    if len(point.samples) == 1 or middle == "-":
        return middle
    spread = point.spread(figure)
    return f"{middle} [dim]({spread.lowest:,.{digits}f}-{spread.highest:,.{digits}f})[/dim]"
