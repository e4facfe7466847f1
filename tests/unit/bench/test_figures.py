"""What is derived from what was measured."""

import dataclasses
from collections.abc import Mapping

import pytest

from bench.counters import Counters
from bench.cpu import CpuReading, CpuUse, used_between
from bench.errors import BenchFailed
from bench.figures import Figures, Point, Sample, sample_of, times_plain_commits
from bench.window import WindowResult

RESULT = WindowResult(
    operation_count=200,
    duration_seconds=2.0,
    p50_ms=4.0,
    p99_ms=9.0,
    error_count=0,
    first_error="",
)
USE = CpuUse(mesh={"gacha_svc": 0.1, "gateway_http": 0.05}, beside={"bench": 0.01}, elsewhere=1.0)
COUNTED = Counters(transactions=600, wal_flushes=300, wal_bytes=400_000)


def _sample(p50_ms: float = 4.0) -> Sample:
    return sample_of(dataclasses.replace(RESULT, p50_ms=p50_ms), USE, COUNTED, 2.0)


def test_costs_are_divided_by_the_operations_between_their_readings() -> None:
    # Read over 4 s at 100 a second: 400 operations, of which the window has seen 200.
    sample = sample_of(RESULT, USE, COUNTED, seconds_between_readings=4.0)
    assert sample.operations_per_second == 100.0
    assert sample.mesh_cpu_ms_each == pytest.approx({"gacha_svc": 0.25, "gateway_http": 0.125})
    assert sample.cpu_ms_each == pytest.approx(0.375)
    assert sample.beside_cpu_ms_each == pytest.approx({"bench": 0.025})
    assert sample.elsewhere_cores == 0.25
    assert (sample.transactions_each, sample.wal_flushes_each) == (1.5, 0.75)
    assert sample.wal_bytes_each == 1000.0


def test_without_operations_nothing_is_divided() -> None:
    none = dataclasses.replace(RESULT, operation_count=0, error_count=3, first_error="503")
    sample = sample_of(none, USE, COUNTED, 2.0)
    assert (sample.operations_per_second, sample.cpu_ms_each, sample.error_count) == (0, 0, 3)


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


def test_a_restart_in_between_is_no_measurement() -> None:
    first = _reading({"gacha_svc": 5.0}, {}, machine=100.0)
    last = dataclasses.replace(first, pids=(2,))
    with pytest.raises(BenchFailed, match="restarted"):
        used_between(first, last)


def test_a_point_has_the_median_of_its_samples_and_their_range() -> None:
    point = Point("pulls", 16, [_sample(9.0), _sample(2.0), _sample(4.0)])
    spread = point.spread(lambda sample: sample.p50_ms)
    assert (spread.median, spread.lowest, spread.highest) == (4.0, 2.0, 9.0)


def test_a_point_has_all_errors_and_the_first() -> None:
    failed = dataclasses.replace(_sample(), error_count=2, first_error="503")
    point = Point("pulls", 16, [_sample(), failed, failed])
    assert (point.error_count, point.first_error) == (4, "503")


@pytest.mark.parametrize(
    ("pulls", "commits", "expected"),
    [
        pytest.param({1: 10.0, 16: 50.0}, {16: 9.0, 1: 4.0}, 2.5, id="lone by lone"),
        pytest.param({16: 50.0}, {1: 4.0}, None, id="no lone pull"),
        pytest.param({1: 10.0}, {16: 4.0}, None, id="no lone commits"),
        pytest.param({1: 10.0}, {1: 0.0}, None, id="nothing was completed"),
    ],
)
def test_a_lone_pull_is_compared_with_lone_commits(
    pulls: Mapping[int, float], commits: Mapping[int, float], expected: float | None
) -> None:
    figures = Figures({}, [], _points("pulls", pulls), _points("commits", commits), [])
    assert times_plain_commits(figures) == expected


def _points(name: str, p50_ms: Mapping[int, float]) -> list[Point]:
    return [Point(name, count, [_sample(each)]) for count, each in p50_ms.items()]


def _reading(mesh: Mapping[str, float], beside: Mapping[str, float], machine: float) -> CpuReading:
    return CpuReading(mesh, beside, machine, pids=(1,))
