"""The measured figures: a sample is one window, a point is the samples of one kind of load at
one number of connections, a series is the points of one kind."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proof.bench.load.window import WindowResult
from proof.bench.meters.batches import BatchSizes
from proof.bench.meters.counters import Counters
from proof.bench.meters.cpu import LOAD, POSTGRES, CpuUse
from proof.bench.meters.idle import IdleSample
from proof.bench.meters.machine_speed import MachineSpeed


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time and counters between two readings."""

    cpu: CpuUse
    counted: Counters
    batches: Mapping[str, BatchSizes]
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One window. `..._each` is per operation completed in it.

    `elsewhere_cores` is the number of cores that were busy with unrelated work: if it is not near
    zero, throughput and latency are worse because of it. `batches` have the names of
    `proof.bench.meters.batches.read_batches`.
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
    batches: Mapping[str, BatchSizes]

    @property
    def cpu_ms_each(self) -> float:
        """Of the mesh: every service, PostgreSQL and the cache."""
        return sum(self.mesh_cpu_ms_each.values())

    @property
    def postgres_cpu_ms_each(self) -> float:
        """The part of `cpu_ms_each` that PostgreSQL's servers use."""
        parts = self.mesh_cpu_ms_each.items()
        return sum(cpu_ms for part, cpu_ms in parts if part.startswith(POSTGRES))

    @property
    def tail(self) -> float:
        """p99 as a multiple of p50; 0 where nothing completed."""
        return self.p99_ms / self.p50_ms if self.p50_ms else 0.0

    @property
    def cpu_ms_each_with_load(self) -> float:
        """Of the mesh and of the load generator."""
        return self.cpu_ms_each + self.beside_cpu_ms_each.get(LOAD, 0.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of a point's samples."""

    median: float
    lowest: float
    highest: float


def spread_of(values: Sequence[float]) -> Spread:
    """Needs at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Point:
    """A kind of load at one number of connections, clients or workers."""

    connection_count: int
    samples: Sequence[Sample]

    def values(self, figure: Callable[[Sample], float]) -> list[float]:
        return [figure(sample) for sample in self.samples]

    def spread(self, figure: Callable[[Sample], float]) -> Spread:
        return spread_of(self.values(figure))

    def median(self, figure: Callable[[Sample], float]) -> float:
        return self.spread(figure).median

    def batches(self, kind: str) -> BatchSizes:
        """Of all samples together."""
        none = BatchSizes()
        return sum((sample.batches.get(kind, none) for sample in self.samples), none)

    @property
    def error_count(self) -> int:
        return sum(sample.error_count for sample in self.samples)

    @property
    def first_error(self) -> str:
        return next((sample.first_error for sample in self.samples if sample.first_error), "")


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of load. `clients` is what its counts count, in the plural, and `operation`
    one of what it did."""

    name: str
    title: str
    operation: str
    clients: str
    points: Sequence[Point]

    def counted(self, count: int) -> str:
        """So many of its clients, in words."""
        return f"1 {self.clients.removesuffix('s')}" if count == 1 else f"{count} {self.clients}"

    def at(self, connection_count: int) -> Point | None:
        """The point over that many; None if it was not measured."""
        return next((p for p in self.points if p.connection_count == connection_count), None)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one run.

    `idle` has the windows without load, empty if there were none. `speeds` has one entry per
    round; `broken_invariants` is empty when all hold; `left_out` has what was not measured, with
    the reason.
    """

    machine: Mapping[str, str]
    speeds: Sequence[MachineSpeed]
    series: Sequence[Series]
    idle: Sequence[IdleSample]
    left_out: Sequence[str]
    broken_invariants: Sequence[str]

    def point(self, name: str, connection_count: int) -> Point | None:
        """Of the series of that name; None if it was not measured."""
        of = next((each for each in self.series if each.name == name), None)
        return None if of is None else of.at(connection_count)

    @property
    def error_count(self) -> int:
        return sum(point.error_count for each in self.series for point in each.points)

    @property
    def has_faults(self) -> bool:
        """Whether a request failed or an invariant is broken."""
        return bool(self.error_count or self.broken_invariants)


def sample_of(result: WindowResult, used: Usage, operations: float) -> Sample:
    """`operations` are those between the two readings of `used`, which differ a little from the
    start and the end of the window."""

    def each(amount: float) -> float:
        return amount / operations if operations else 0.0

    return Sample(
        operation_count=result.operation_count,
        operations_per_second=result.operation_count / result.duration_seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        error_count=result.error_count,
        first_error=result.first_error,
        mesh_cpu_ms_each={part: each(seconds * 1000) for part, seconds in used.cpu.mesh.items()},
        beside_cpu_ms_each={
            part: each(seconds * 1000) for part, seconds in used.cpu.beside.items()
        },
        elsewhere_cores=used.cpu.elsewhere / used.seconds,
        transactions_each=each(used.counted.transactions),
        wal_flushes_each=each(used.counted.wal_flushes),
        wal_bytes_each=each(used.counted.wal_bytes),
        batches=used.batches,
    )
