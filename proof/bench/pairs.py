"""Ratios within pairs of samples.

A machine's speed changes from minute to minute. The two samples of a pair are taken soon after one
another, so their ratio leaves most of that out; the ratio of two medians does not.
"""

from collections.abc import Sequence

from proof.bench.figures import Spread, spread_of


def ratio(first: Sequence[float], second: Sequence[float]) -> Spread | None:
    """The first divided by the second, over all pairs: the figures of the same number.

    A pair counts if neither of its figures is 0, which one is if nothing completed. Returns None
    if no pair counts. Raises ValueError if one side has more figures than the other.
    """
    pairs = zip(first, second, strict=True)
    ratios = [one / other for one, other in pairs if one and other]
    return spread_of(ratios) if ratios else None
