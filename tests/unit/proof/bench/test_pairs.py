"""Ratios within pairs of samples."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.bench.figures import Sample, Spread
from proof.bench.pairs import ratio
from tests.unit.proof.bench.samples import sample

milliseconds = st.floats(min_value=0.001, max_value=10_000.0)


def _p50_ms(of: Sample) -> float:
    return of.p50_ms


def _samples(*p50_ms: float) -> list[Sample]:
    return [sample(p50_ms=each) for each in p50_ms]


def test_a_ratio_is_of_the_samples_of_the_same_number() -> None:
    # The machine is twice as slow in each next round; the medians alone would say 4 to 2.
    spread = ratio(_samples(2.0, 4.0, 8.0), _samples(1.0, 2.0, 4.0), _p50_ms)
    assert spread == Spread(2.0, 2.0, 2.0)
    assert ratio(_samples(1.0, 6.0, 4.0), _samples(2.0, 4.0, 4.0), _p50_ms) == Spread(1.0, 0.5, 1.5)


def test_a_pair_counts_only_if_both_have_the_figure() -> None:
    assert ratio(_samples(1.0, 0.0), _samples(2.0, 5.0), _p50_ms) == Spread(0.5, 0.5, 0.5)
    assert ratio(_samples(0.0), _samples(5.0), _p50_ms) is None
    assert ratio(_samples(5.0), _samples(0.0), _p50_ms) is None


def test_a_sample_without_its_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio(_samples(1.0, 1.0), _samples(1.0), _p50_ms)


@given(st.lists(st.tuples(milliseconds, milliseconds, milliseconds), min_size=1))
def test_the_speed_of_a_round_does_not_count(rounds: list[tuple[float, float, float]]) -> None:
    ours = _samples(*(one * slowness for one, _, slowness in rounds))
    theirs = _samples(*(other * slowness for _, other, slowness in rounds))
    spread = ratio(ours, theirs, _p50_ms)
    assert spread is not None
    assert spread.median == pytest.approx(
        statistics.median(one / other for one, other, _ in rounds)
    )
    assert spread.lowest <= spread.median <= spread.highest
