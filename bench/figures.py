"""What was measured: a sample is one window, a point is the samples of one kind of load."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.counters import Counters
from bench.cpu import CpuUse
from bench.window import WindowResult
from bench.yardstick import Speed


@dataclass(frozen=True, slots=True)
class Sample:
    """One window. `..._each` is for each operation that was completed in it.

    `elsewhere_cores` is how many cores were busy with what has nothing to do with the
    measurement: where it is not near zero, throughput and latency are worse for it.
    """

    operation_count: int
    operations_per_second: float
    p50_ms: float
    p99_ms: float
    error_count: int
    first_error: str
    mesh_cpu_ms_each: Mapping[str, float]
    beside_cpu_ms_each: Mapping[str, float]
    elsewhere_cores: float
    transactions_each: float
    wal_flushes_each: float
    wal_bytes_each: float

    @property
    def cpu_ms_each(self) -> float:
        """Of the mesh: every service, PostgreSQL and the cache."""
        return sum(self.mesh_cpu_ms_each.values())


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the samples of a point."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Point:
    """A kind of load over so many connections (for plain commits: clients)."""

    name: str
    connection_count: int
    samples: Sequence[Sample]

    def spread(self, figure: Callable[[Sample], float]) -> Spread:
        values = [figure(sample) for sample in self.samples]
        return Spread(statistics.median(values), min(values), max(values))

    def median(self, figure: Callable[[Sample], float]) -> float:
        return self.spread(figure).median

    @property
    def error_count(self) -> int:
        return sum(sample.error_count for sample in self.samples)

    @property
    def first_error(self) -> str:
        return next((sample.first_error for sample in self.samples if sample.first_error), "")


@dataclass(frozen=True, slots=True)
class Figures:
    """All that one run measured.

    `speeds` has one of each round; `broken_invariants` is empty when all hold.
    """

    machine: Mapping[str, str]
    speeds: Sequence[Speed]
    pulls: Sequence[Point]
    plain_commits: Sequence[Point]
    broken_invariants: Sequence[str]


def sample_of(
    result: WindowResult, cpu: CpuUse, counted: Counters, seconds_between_readings: float
) -> Sample:
    """CPU and counters were read around the same window, but not at the very same moments:
    so that each is taken as a rate before it is divided by the operations."""
    rate = result.operation_count / result.duration_seconds
    operations = rate * seconds_between_readings

    def each(amount: float) -> float:
        return amount / operations if operations else 0.0

    return Sample(
        operation_count=result.operation_count,
        operations_per_second=rate,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        error_count=result.error_count,
        first_error=result.first_error,
        mesh_cpu_ms_each={part: each(seconds * 1000) for part, seconds in cpu.mesh.items()},
        beside_cpu_ms_each={part: each(seconds * 1000) for part, seconds in cpu.beside.items()},
        elsewhere_cores=cpu.elsewhere / seconds_between_readings,
        transactions_each=each(counted.transactions),
        wal_flushes_each=each(counted.wal_flushes),
        wal_bytes_each=each(counted.wal_bytes),
    )


def times_plain_commits(figures: Figures) -> float | None:
    """A lone pull's median as a multiple of two plain commits'; None if either is missing."""
    alone = [
        next((point for point in points if point.connection_count == 1), None)
        for points in (figures.pulls, figures.plain_commits)
    ]
    pull, plain = (None if point is None else point.median(lambda s: s.p50_ms) for point in alone)
    return pull / plain if pull and plain else None
