"""The output of a run: tables for people, and the same figures as JSON for tools."""

import dataclasses
import operator
from collections.abc import Mapping
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.bench.figures import Figures, Point, Series
from proof.bench.meters.machine_speed import median_speed
from proof.bench.tables.floor import floor_rows, show_floor
from proof.bench.tables.idle import idle_as_json, idle_table
from proof.bench.tables.series import tables_of
from proof.bench.tables.targets import comparisons, times_plain_commits

LEGEND = """\
[dim]How to read it (more in docs/bench.md). Each connection has its own players and sends its next
request when it has its answer. a second: completed with status 200. p50, p99: latencies
at the load generator. CPU ms each: CPU time of the mesh's processes, with PostgreSQL and
the cache, for each operation; load generators and meters are shown separately.
transactions, WAL flushes: as PostgreSQL counts them (pg_stat_database, pg_stat_wal or
pg_stat_io); a flush is an fsync of the log. Batch sizes: how many operations shared one
two-phase commit, and calls one message between processes; percentiles of these are the
bounds of histogram buckets. Without load: the share of one core, the times that a thread
began to run again, and the proportional set size, in which shared memory counts once.
cores busy elsewhere: by what is not of this run.[/dim]
"""


def show(console: Console, figures: Figures) -> None:
    """Prints everything, the summary last."""
    show_machine(console, figures)
    console.print(LEGEND)
    if figures.idle:
        console.print(idle_table(figures.idle))
    for series in figures.series:
        for table in tables_of(series):
            console.print(table)
    show_floor(console, figures)
    for left_out in figures.left_out:
        console.print(f"[yellow]Left out:[/yellow] {escape(left_out)}", soft_wrap=True)
    _show_targets(console, figures)
    show_faults(console, figures)


def write_json(path: Path, figures: Figures) -> None:
    """Every sample of every point, and what the tables derive from them."""
    write_document(path, as_json(figures))


def write_document(path: Path, document: Mapping[str, object]) -> None:
    """Writes figures as one JSON document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    path.write_bytes(orjson.dumps(document, option=options) + b"\n")


def as_json(figures: Figures) -> dict[str, object]:
    """The figures of one run as a JSON object."""
    return {
        "machine": figures.machine,
        "speeds": figures.speeds,
        "series": {
            each.name: [_point_as_json(point) for point in each.points] for each in figures.series
        },
        "idle": [idle_as_json(sample) for sample in figures.idle],
        "pulls_in_plain_commits": [dataclasses.asdict(row) for row in floor_rows(figures)],
        "lone_pull_p50_in_plain_commits": times_plain_commits(figures),
        "targets": list(comparisons(figures)),
        "left_out": figures.left_out,
        "broken_invariants": figures.broken_invariants,
    }


def _point_as_json(point: Point) -> dict[str, object]:
    names = (
        "operations_per_second",
        "p50_ms",
        "p99_ms",
        "cpu_ms_each",
        "cpu_ms_each_with_load",
    )
    spreads = {name: dataclasses.asdict(point.spread(operator.attrgetter(name))) for name in names}
    samples = [
        dataclasses.asdict(sample) | {"cpu_ms_each": sample.cpu_ms_each} for sample in point.samples
    ]
    return {
        "connections": point.connection_count,
        **spreads,
        "errors": point.error_count,
        "first_error": point.first_error,
        "samples": samples,
    }


def show_machine(console: Console, figures: Figures) -> None:
    """Prints what the figures were measured on."""
    for fact, value in figures.machine.items():
        console.print(f"[dim]{fact:>20}[/dim]  {escape(value)}", soft_wrap=True)
    speed = median_speed(figures.speeds)
    console.print(
        f"[dim]{'speed just now':>20}[/dim]  {speed.additions_ms:.0f} ms for a million additions "
        f"in Python, {speed.wake_up_us:.0f} µs to wake up another process\n"
    )


def _show_targets(console: Console, figures: Figures) -> None:
    table = Table(title="Summary: measured figures beside their targets", title_justify="left")
    table.add_column("what")
    for heading in ("measured", "target", "measured /\ntarget"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in comparisons(figures):
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
        table.add_row(each.what, each.measured, each.target, ratio)
    if table.row_count:
        console.print(table)


def show_faults(console: Console, figures: Figures) -> None:
    """Prints the requests that failed, and the invariants."""
    for series, point in _points_with_errors(figures):
        console.print(
            f"[bold red]{point.error_count} ERRORS[/bold red] of {series.title}, "
            f"{series.counted(point.connection_count)}; the first: {escape(point.first_error)}"
        )
    if not figures.broken_invariants:
        console.print("Afterwards every invariant holds over all data of both databases.")
    for broken in figures.broken_invariants:
        console.print(f"[bold red]BROKEN INVARIANT[/bold red] {escape(broken)}")


def _points_with_errors(figures: Figures) -> list[tuple[Series, Point]]:
    return [(each, p) for each in figures.series for p in each.points if p.error_count]
