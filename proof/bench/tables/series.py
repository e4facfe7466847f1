"""The tables of one series: throughput, cost, and batch sizes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.table import Table

from proof.bench.figures import Point, Sample, Series
from proof.bench.tables.cells import median_cell, range_cell

Cell = Callable[[Point], str]

_LOAD: tuple[tuple[str, Cell], ...] = (
    ("a second", lambda p: range_cell(p, lambda s: s.operations_per_second, 0)),
    ("p50 ms", lambda p: range_cell(p, lambda s: s.p50_ms, 2)),
    ("p99 ms", lambda p: range_cell(p, lambda s: s.p99_ms, 1)),
    ("p99/\np50", lambda p: median_cell(p, lambda s: s.tail, 1)),
    ("CPU ms\neach", lambda p: median_cell(p, lambda s: s.cpu_ms_each, 3)),
    ("transactions\neach", lambda p: median_cell(p, lambda s: s.transactions_each, 2)),
    ("WAL flushes\neach", lambda p: median_cell(p, lambda s: s.wal_flushes_each, 2)),
    ("WAL kB\neach", lambda p: median_cell(p, lambda s: s.wal_bytes_each / 1000, 2)),
    ("cores busy\nelsewhere", lambda p: f"{p.median(lambda s: s.elsewhere_cores):.2f}"),
    ("errors", lambda p: f"[bold red]{p.error_count}[/bold red]" if p.error_count else "0"),
)


CALLS_OF_GATEWAYS = "gateway_http: calls in a lane message"


def tables_of(series: Series) -> Iterator[Table]:
    """None of what it has nothing of."""
    yield _load_table(series)
    yield _cpu_table(series)
    batches = _batch_table(series)
    if batches.row_count:
        yield batches


def _load_table(series: Series) -> Table:
    table = _table(series.title[0].upper() + series.title[1:])
    table.add_column(series.clients, justify="right", no_wrap=True)
    for heading, _ in _LOAD:
        table.add_column(heading, justify="right", no_wrap=True)
    for point in series.points:
        table.add_row(str(point.connection_count), *(cell(point) for _, cell in _LOAD))
    return table


def _cpu_table(series: Series) -> Table:
    table = _by_count(series, f"CPU ms for each {series.operation}", "process")
    points = series.points
    for part in _parts(points, lambda sample: list(sample.mesh_cpu_ms_each)):
        table.add_row(part, *_cpu_cells(points, partial(_of_mesh, part)))
    table.add_section()
    table.add_row("the mesh", *_cpu_cells(points, lambda s: s.cpu_ms_each), style="bold")
    with_load = _cpu_cells(points, lambda s: s.cpu_ms_each_with_load)
    table.add_row("with the load generator", *with_load)
    table.add_section()
    for part in _parts(points, lambda sample: list(sample.beside_cpu_ms_each)):
        cells = _cpu_cells(points, partial(_of_beside, part))
        table.add_row(f"beside: {part}", *cells, style="dim")
    return table


def _batch_table(series: Series) -> Table:
    table = _by_count(series, "Batch sizes: mean (half within, 99 % within)", "batch")
    for kind in _parts(series.points, lambda sample: list(sample.batches)):
        if any(point.batches(kind).batch_count for point in series.points):
            table.add_row(kind, *(_batch_cell(point, kind) for point in series.points))
    if any(_knows_calls(point) for point in series.points):
        name = f"calls of the gateway for each {series.operation}"
        table.add_row(name, *map(_calls_cell, series.points))
    return table


def _knows_calls(point: Point) -> bool:
    return any(CALLS_OF_GATEWAYS in sample.batches for sample in point.samples)


def _calls_cell(point: Point) -> str:
    """Near 0 where the gateway answers from memory."""
    operation_count = sum(sample.operation_count for sample in point.samples)
    if not operation_count or not _knows_calls(point):
        return "-"
    return f"{point.batches(CALLS_OF_GATEWAYS).total / operation_count:.3f}"


def _batch_cell(point: Point, kind: str) -> str:
    sizes = point.batches(kind)
    if not sizes.batch_count:
        return "-"
    return f"{sizes.mean:.1f} [dim]({sizes.bound_of(0.5):g}, {sizes.bound_of(0.99):g})[/dim]"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left")


def _by_count(series: Series, title: str, rows: str) -> Table:
    """A table with a column for each point."""
    table = _table(title)
    table.add_column(rows, no_wrap=True)
    for point in series.points:
        heading = series.counted(point.connection_count)
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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
    return [median_cell(point, figure, 3) for point in points]
