"""Ratios within pairs of samples.

A machine's speed changes from minute to minute. The two samples of a pair are taken one right
after the other, so their ratio leaves most of that out; the ratio of two medians does not.
"""

import statistics
from collections.abc import Callable

from proof.bench.figures import Point, Sample, Spread


def ratio(first: Point, second: Point, figure: Callable[[Sample], float]) -> Spread | None:
    """The first divided by the second, over all pairs: the samples of the same number.

    A pair counts if both of its samples have the figure. Returns None if no pair counts. Raises
    ValueError if one point has more samples than the other.
    """
    values = [
        (figure(one), figure(other))
        for one, other in zip(first.samples, second.samples, strict=True)
    ]
    return spread_of([one / other for one, other in values if one and other])


def spread_of(values: list[float]) -> Spread | None:
    """Returns None of none."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None
