"""The target figures beside the measured ones. Nothing is judged here."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from proof.bench.figures import Figures, Point
from proof.bench.load.scenarios import PULLS, PURCHASES
from proof.bench.plan import COMMITS
from proof.bench.tables.idle import IDLE_FIGURES

CONNECTIONS = 64
PULLS_PER_SECOND = 3_000.0
CPU_MS_EACH = 0.5
PURCHASES_PER_SECOND = 400.0
IDLE_PER_CENT_OF_A_CORE = 1.0
IDLE_PSS_MIB = 400.0
TAIL = 2.5
LONE_PULL_IN_PLAIN_COMMITS = 2.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ratio` is measured divided by target; None where there is only one number."""

    what: str
    measured: str
    target: str
    ratio: float | None


def comparisons(figures: Figures) -> Iterator[Comparison]:
    """The comparisons with a measured figure."""
    busy = figures.point(PULLS.name, CONNECTIONS)
    if busy is not None and _has_operations(busy):
        yield from _throughput_and_cost(busy)
    purchases = figures.point(PURCHASES.name, CONNECTIONS)
    if purchases is not None and _has_operations(purchases):
        yield _per_second(PURCHASES.name, purchases, PURCHASES_PER_SECOND)
    yield from _tail(figures)
    yield from _idle(figures)
    yield from _falling_cost(figures)
    yield from _lone_pull(figures)


def times_plain_commits(figures: Figures) -> float | None:
    """A lone pull's median as a multiple of two plain commits'; None if either is missing."""
    pull_ms, plain_ms = _lone_p50_ms(figures, PULLS.name), _lone_p50_ms(figures, COMMITS)
    return pull_ms / plain_ms if pull_ms and plain_ms else None


def _per_second(operations: str, point: Point, target: float) -> Comparison:
    measured = point.median(lambda s: s.operations_per_second)
    return Comparison(
        f"{operations} a second, {CONNECTIONS} connections",
        f"{measured:,.0f}",
        f"at least {target:,.0f}",
        measured / target,
    )


def _throughput_and_cost(busy: Point) -> Iterator[Comparison]:
    yield _per_second(PULLS.name, busy, PULLS_PER_SECOND)
    mesh_ms = busy.median(lambda s: s.cpu_ms_each)
    all_ms = busy.median(lambda s: s.cpu_ms_each_with_load)
    for what, cpu_ms in (("without", mesh_ms), ("with", all_ms)):
        yield Comparison(
            f"CPU ms for each pull, {CONNECTIONS} connections, {what} the load generator",
            f"{cpu_ms:.3f}",
            f"at most {CPU_MS_EACH:g}",
            cpu_ms / CPU_MS_EACH,
        )


def _tail(figures: Figures) -> Iterator[Comparison]:
    busy = figures.point(PULLS.name, CONNECTIONS)
    if busy is not None and _has_operations(busy):
        measured = busy.median(lambda s: s.tail)
        yield Comparison(
            f"p99 / p50 of pulls, {CONNECTIONS} connections",
            f"{measured:.2f}",
            f"at most {TAIL:g}",
            measured / TAIL,
        )


def _idle(figures: Figures) -> Iterator[Comparison]:
    if not figures.idle:
        return
    for what, shown, figure, target in (
        ("% of a core", ".2f", IDLE_FIGURES["% of a core"], IDLE_PER_CENT_OF_A_CORE),
        ("MiB of memory", ".0f", IDLE_FIGURES["PSS MiB"], IDLE_PSS_MIB),
    ):
        measured = statistics.median(figure(sample.whole) for sample in figures.idle)
        yield Comparison(
            f"the mesh without load, {what}",
            f"{measured:{shown}}",
            f"at most {target:g}",
            measured / target,
        )


def _falling_cost(figures: Figures) -> Iterator[Comparison]:
    series = next((each for each in figures.series if each.name == PULLS.name), None)
    points = [] if series is None else [point for point in series.points if _has_operations(point)]
    costs_ms = [point.median(lambda s: s.cpu_ms_each) for point in points]
    if len(costs_ms) > 1:
        counts = ", ".join(str(point.connection_count) for point in points)
        yield Comparison(
            f"CPU ms for each pull, {counts} connections (ratio: last to first)",
            ", ".join(f"{cost_ms:.3f}" for cost_ms in costs_ms),
            "falling",
            costs_ms[-1] / costs_ms[0] if costs_ms[0] else None,
        )


def _lone_pull(figures: Figures) -> Iterator[Comparison]:
    times = times_plain_commits(figures)
    if times is not None:
        pull_ms, plain_ms = _lone_p50_ms(figures, PULLS.name), _lone_p50_ms(figures, COMMITS)
        yield Comparison(
            "a lone caller's median ms / two plain commits' median ms",
            f"{pull_ms:.2f} / {plain_ms:.2f} = {times:.2f}",
            f"at most {LONE_PULL_IN_PLAIN_COMMITS:g}",
            times / LONE_PULL_IN_PLAIN_COMMITS,
        )


def _lone_p50_ms(figures: Figures, name: str) -> float:
    """0 if it was not measured, or no operation completed."""
    point = figures.point(name, 1)
    return 0.0 if point is None else point.median(lambda s: s.p50_ms)


def _has_operations(point: Point) -> bool:
    return any(sample.operation_count for sample in point.samples)
