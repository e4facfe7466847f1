"""Measured figures and their targets."""

from collections.abc import Mapping

import pytest

from proof.bench.figures import Figures
from proof.bench.tables.targets import comparisons, times_plain_commits
from tests.unit.proof.bench.samples import figures, idle_sample, sample, series


def _run(pulls: Mapping[int, float], commits: Mapping[int, float]) -> Figures:
    """Figures with these medians in ms by number of connections."""
    return figures(
        series("pulls", {count: [sample(p50_ms=each)] for count, each in pulls.items()}),
        series("commits", {count: [sample(p50_ms=each)] for count, each in commits.items()}),
    )


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
    assert times_plain_commits(_run(pulls, commits)) == expected


def test_both_numbers_and_their_ratio_are_reported() -> None:
    of = figures(series("pulls", {64: [sample(operation_count=12_000)]}))
    told = [(each.measured, each.target, each.ratio) for each in comparisons(of)]
    assert told == [
        ("1,500", "at least 3,000", 0.5),
        ("1.750", "at most 0.5", 3.5),
        ("1.812", "at most 0.5", 3.625),
        ("2.00", "at most 2.5", 0.8),
    ]


def test_purchases_are_compared_too() -> None:
    of = figures(series("purchases", {64: [sample(operation_count=6_400)]}))
    (purchases,) = comparisons(of)
    assert purchases.what == "purchases a second, 64 connections"
    assert (purchases.measured, purchases.target, purchases.ratio) == ("800", "at least 400", 2.0)


def test_the_cost_is_distinguished_from_few_connections_to_many() -> None:
    of = figures(series("pulls", {1: [sample()], 16: [sample()]}))
    (falling,) = comparisons(of)
    assert (falling.measured, falling.target, falling.ratio) == ("1.750, 1.750", "falling", 1.0)


def test_the_mesh_without_load_is_compared_as_a_whole() -> None:
    of = figures(idle=[idle_sample(0.019, 192), idle_sample(0.039, 192), idle_sample(0.009, 192)])
    told = list(comparisons(of))
    assert [each.measured for each in told] == ["2.00", "200"]
    assert [each.target for each in told] == ["at most 1", "at most 400"]
    assert [each.ratio for each in told] == pytest.approx([2.0, 0.5])


def test_targets_without_a_measurement_are_left_out() -> None:
    assert list(comparisons(figures())) == []
    nothing_completed = figures(series("pulls", {64: [sample(0, 0.0, "503")]}))
    assert list(comparisons(nothing_completed)) == []
