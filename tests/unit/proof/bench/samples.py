"""Invented figures, for tests of the reports."""

from collections.abc import Mapping, Sequence

from proof.bench.figures import Figures, Point, Sample, Series
from proof.bench.meters.batches import BatchSizes
from proof.bench.meters.idle import IdlePart, IdleSample
from proof.bench.meters.machine_speed import MachineSpeed

BATCHES = {"gacha_svc: operations in a transaction": BatchSizes(4, 50, {8.0: 1, 16.0: 4})}


def sample(operation_count: int = 800, p50_ms: float = 4.0, error: str = "") -> Sample:
    """A sample of eight seconds."""
    return Sample(
        operation_count=operation_count,
        operations_per_second=operation_count / 8,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        error_count=3 if error else 0,
        first_error=error,
        mesh_cpu_ms_each={"gacha_svc": 1.25, "postgres-gacha": 0.5},
        beside_cpu_ms_each={"load generator": 0.0625},
        elsewhere_cores=0.5,
        transactions_each=10.0,
        wal_flushes_each=5.0,
        wal_bytes_each=2500.0,
        batches=BATCHES,
    )


def series(name: str, points: Mapping[int, list[Sample]]) -> Series:
    """A series with these samples by number of connections."""
    return Series(
        name,
        f"{name} through REST",
        "request",
        "connections",
        [Point(count, samples) for count, samples in points.items()],
    )


def idle_sample(core_share: float = 0.01, pss_mib: int = 100) -> IdleSample:
    """A window without load: a gacha_svc with these figures, and a small cache."""
    return IdleSample(
        {
            "gacha_svc": IdlePart(core_share, 12.5, pss_mib << 20, 2),
            "cache": IdlePart(0.001, 10.0, 8 << 20, 1),
        }
    )


def figures(
    *of: Series,
    idle: Sequence[IdleSample] = (),
    broken: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> Figures:
    """The figures of a run with these series."""
    return Figures(
        machine={"PostgreSQL": "18.6; account: fsync on"},
        speeds=[MachineSpeed(100.0, 5.0)],
        series=of,
        idle=idle,
        left_out=left_out,
        broken_invariants=broken,
    )
