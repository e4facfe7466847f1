"""Values that are derived from the measured figures."""

import dataclasses
from collections.abc import Mapping

import pytest

from proof.bench.errors import BenchFailed
from proof.bench.figures import Point, Sample, Usage, sample_of
from proof.bench.load.window import WindowResult
from proof.bench.meters.batches import BatchSizes
from proof.bench.meters.counters import Counters
from proof.bench.meters.cpu import CpuReading, CpuUse, used_between
from tests.unit.proof.bench.samples import figures, sample, series

RESULT = WindowResult(
    operation_count=200,
    duration_seconds=2.0,
    p50_ms=4.0,
    p99_ms=9.0,
    error_count=0,
    first_error="",
)
USE = CpuUse(
    mesh={"gacha_svc": 0.1, "gateway_http": 0.05}, beside={"load generator": 0.01}, elsewhere=1.0
)
COUNTED = Counters(transactions=600, wal_flushes=300, wal_bytes=400_000)
BATCHES = {"sent": BatchSizes(2, 6)}
USED = Usage(USE, COUNTED, BATCHES, seconds=4.0)


def _sample(p50_ms: float = 4.0) -> Sample:
    return sample_of(dataclasses.replace(RESULT, p50_ms=p50_ms), USED, operations=400)


def test_costs_are_divided_by_the_operations_between_their_readings() -> None:
    # Read over 4 s at 100 a second: 400 operations, of which the window has seen 200.
    taken = sample_of(RESULT, USED, operations=400)
    assert taken.operations_per_second == 100.0
    assert taken.mesh_cpu_ms_each == pytest.approx({"gacha_svc": 0.25, "gateway_http": 0.125})
    assert taken.cpu_ms_each == pytest.approx(0.375)
    assert taken.beside_cpu_ms_each == pytest.approx({"load generator": 0.025})
    assert taken.cpu_ms_each_with_load == pytest.approx(0.4)
    assert taken.elsewhere_cores == 0.25
    assert (taken.transactions_each, taken.wal_flushes_each) == (1.5, 0.75)
    assert taken.wal_bytes_each == 1000.0
    assert taken.batches == BATCHES


def test_without_operations_nothing_is_divided() -> None:
    none = dataclasses.replace(RESULT, operation_count=0, error_count=3, first_error="503")
    taken = sample_of(none, USED, operations=0)
    assert (taken.operations_per_second, taken.cpu_ms_each, taken.error_count) == (0, 0, 3)


def test_cpu_is_the_difference_and_the_rest_of_the_machine_is_elsewhere() -> None:
    first = _reading({"gacha_svc": 5.0}, {"bench": 1.0}, machine=100.0)
    last = _reading({"gacha_svc": 6.5}, {"bench": 1.25}, machine=103.0)
    use = used_between(first, last)
    assert (use.mesh, use.beside) == ({"gacha_svc": 1.5}, {"bench": 0.25})
    assert use.elsewhere == 1.25


def test_the_rest_of_the_machine_is_never_negative() -> None:
    first = _reading({"gacha_svc": 5.0}, {}, machine=100.0)
    last = _reading({"gacha_svc": 6.0}, {}, machine=100.99)
    assert used_between(first, last).elsewhere == 0.0


def test_a_load_generator_that_no_reading_knew_was_not_elsewhere() -> None:
    use = CpuUse(mesh={}, beside={"bench": 0.1}, elsewhere=1.0).with_load(0.75)
    assert use.beside == {"load generator": 0.75, "bench": 0.1}
    assert use.elsewhere == 0.25
    assert use.with_load(5.0).elsewhere == 0.0


def test_a_restart_in_between_is_no_measurement() -> None:
    first = _reading({"gacha_svc": 5.0}, {}, machine=100.0)
    last = dataclasses.replace(first, pids=(2,))
    with pytest.raises(BenchFailed, match="restarted"):
        used_between(first, last)


def test_a_point_has_the_median_of_its_samples_and_their_range() -> None:
    point = Point(16, [_sample(9.0), _sample(2.0), _sample(4.0)])
    spread = point.spread(lambda sample: sample.p50_ms)
    assert (spread.median, spread.lowest, spread.highest) == (4.0, 2.0, 9.0)


def test_a_point_has_all_errors_and_the_first() -> None:
    failed = dataclasses.replace(_sample(), error_count=2, first_error="503")
    point = Point(16, [_sample(), failed, failed])
    assert (point.error_count, point.first_error) == (4, "503")


def test_a_point_has_the_batches_of_all_its_samples() -> None:
    point = Point(16, [_sample(), _sample()])
    assert point.batches("sent") == BatchSizes(4, 12)
    assert point.batches("received") == BatchSizes()


def test_a_point_is_found_by_its_series_and_its_connections() -> None:
    of = figures(series("pulls", {1: [sample()], 16: [sample(error="503")]}))
    found = of.point("pulls", 16)
    assert found is not None
    assert found.error_count == of.error_count == 3
    assert of.point("pulls", 64) is None
    assert of.point("items", 1) is None


def _reading(mesh: Mapping[str, float], beside: Mapping[str, float], machine: float) -> CpuReading:
    return CpuReading(mesh, beside, machine, pids=(1,))
