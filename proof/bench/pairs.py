"""Ratios within pairs of samples.

A machine's speed changes from minute to minute. The two samples of a pair are taken one right
after the other, so their ratio leaves most of that out; the ratio of two medians does not.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from proof.bench.figures import Spread, spread_of

SampleT = TypeVar("SampleT")


def ratio(
    first: Sequence[SampleT], second: Sequence[SampleT], figure: Callable[[SampleT], float]
) -> Spread | None:
    """The first divided by the second, over all pairs: the samples of the same number.

    A pair counts if both of its samples have the figure. Returns None if no pair counts. Raises
    ValueError if one side has more samples than the other.
    """
    values = [(figure(one), figure(other)) for one, other in zip(first, second, strict=True)]
    ratios = [one / other for one, other in values if one and other]
    return spread_of(ratios) if ratios else None
