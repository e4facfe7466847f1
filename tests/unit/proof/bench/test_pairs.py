"""Ratios within pairs of samples."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.bench.figures import Spread
from proof.bench.pairs import ratio

milliseconds = st.floats(min_value=0.001, max_value=10_000.0)


def test_a_ratio_is_of_the_figures_of_the_same_number() -> None:
    # The machine is twice as slow in each next round.
    assert ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]) == Spread(2.0, 2.0, 2.0)
    assert ratio([1.0, 6.0, 4.0], [2.0, 4.0, 4.0]) == Spread(1.0, 0.5, 1.5)


def test_a_pair_counts_only_if_both_have_the_figure() -> None:
    assert ratio([1.0, 0.0], [2.0, 5.0]) == Spread(0.5, 0.5, 0.5)
    assert ratio([0.0], [5.0]) is None
    assert ratio([5.0], [0.0]) is None


def test_a_figure_without_its_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 1.0], [1.0])


@given(st.lists(st.tuples(milliseconds, milliseconds, milliseconds), min_size=1))
def test_the_speed_of_a_round_does_not_count(rounds: list[tuple[float, float, float]]) -> None:
    ours = [one * slowness for one, _, slowness in rounds]
    theirs = [other * slowness for _, other, slowness in rounds]
    spread = ratio(ours, theirs)
    assert spread is not None
    ratios = [one / other for one, other, _ in rounds]
    assert spread.median == pytest.approx(statistics.median(ratios))
    assert spread.lowest <= spread.median <= spread.highest
