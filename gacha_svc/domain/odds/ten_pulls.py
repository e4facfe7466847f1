"""The odds of ten pulls at once, the guarantee and pity counted.

All figures are computed and not simulated, so they are exact up to floating-point rounding. They
are shares of all pulls, so they compare with the rates of single pulls.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from gacha_svc.domain.odds.long_run import NEGLIGIBLE
from gacha_svc.domain.rarities import RARITIES
from gacha_svc.domain.rates import Weights, guaranteed_weights, rarity_weights
from gacha_svc.domain.terms import Terms

TEN = 10
Rates = tuple[float, float, float]
Start = tuple[int, bool]
"""The pulls already made of a ten-pull, and whether they have kept its guarantee."""


@dataclass(frozen=True, slots=True)
class TenPullRates:
    """Each rarity's share of all pulls, from 0 to 1, highest first."""

    fresh: Rates
    """In the first ten-pull of a player without pulls of the kind."""
    long_run: Rates
    """Of a player who makes ten-pulls alone, one after another on banners of these terms."""


def ten_pull_rates(terms: Terms, single: Rates) -> TenPullRates:
    """`single` are the long-run rates of single pulls, which are those of ten-pulls too if there
    is no guarantee."""
    fresh = _fresh(terms)
    if terms.ten_pull_guarantee is None:
        return TenPullRates(fresh, single)
    has_pity = terms.rules[0].has_pity or terms.rules[1].has_pity
    return TenPullRates(fresh, _long_run(terms) if has_pity else fresh)


def _fresh(terms: Terms) -> Rates:
    """By the chance of each state (both counts, and whether the guarantee is kept), pull by
    pull."""
    chance_at = {(0, 0, False): Fraction(1)}
    hits = [Fraction(0)] * len(RARITIES)
    for position in range(TEN):
        reached: dict[tuple[int, int, bool], Fraction] = defaultdict(Fraction)
        for (since_ultra_rare, since_super_rare, is_kept), chance in chance_at.items():
            counts = since_ultra_rare + 1, since_super_rare + 1
            is_floored = position == TEN - 1 and not is_kept
            weights = _weights(terms, counts, is_floored)
            for index, weight in enumerate(weights):
                drawn = chance * Fraction(weight, sum(weights))
                hits[index] += drawn
                onward = counts[0] if index else 0, counts[1] if index == 2 else 0
                reached[*onward, is_kept or _keeps(terms, index)] += drawn
        chance_at = reached
    ultra_rare, super_rare, rare = (float(hit / TEN) for hit in hits)
    return ultra_rare, super_rare, rare


def _long_run(terms: Terms) -> Rates:
    """Hits over pulls in the intervals between resets (a Markov renewal process).

    A reset makes the next interval independent of all but its start: an ultra rare, which resets
    both counts, or a super rare or above if the ultra rare has no pity. The starts are a Markov
    chain of at most twenty states.
    """
    intervals: dict[Start, _Interval] = {}
    ahead: list[Start] = [(0, False)]
    while ahead:
        start = ahead.pop()
        if start not in intervals:
            intervals[start] = _interval_from(terms, start)
            ahead += intervals[start].next_starts
    often = _stationary({start: interval.next_starts for start, interval in intervals.items()})
    pulls = sum(often[start] * interval.pulls for start, interval in intervals.items())
    hits = [
        sum(often[start] * interval.hits[index] for start, interval in intervals.items())
        for index in range(len(RARITIES))
    ]
    ultra_rare, super_rare, rare = (hit / pulls for hit in hits)
    return ultra_rare, super_rare, rare


@dataclass(frozen=True, slots=True)
class _Interval:
    """Expected pulls, and hits of each rarity, up to the reset; and where the next one starts."""

    pulls: float
    hits: list[float]
    next_starts: Mapping[Start, float]


def _interval_from(terms: Terms, start: Start) -> _Interval:
    """Follows the chance of each state (pulls since the last super rare as far as they matter,
    and whether the guarantee is kept) until all but a negligible chance has met a reset."""
    resets = 1 if terms.rules[0].has_pity else 2
    position, is_kept = start
    chance_at = {(0, is_kept): 1.0}
    made, hits, pull = 0.0, [0.0, 0.0, 0.0], 0
    next_starts: dict[Start, float] = defaultdict(float)
    while chance_at:
        pull += 1
        onward = (position + 1) % TEN
        reached: dict[tuple[int, bool], float] = defaultdict(float)
        for (count, is_kept), chance in chance_at.items():
            made += chance
            is_floored = position == TEN - 1 and not is_kept
            weights = _weights(terms, (pull, count + 1), is_floored)
            for index, weight in enumerate(weights):
                drawn = chance * weight / sum(weights)
                hits[index] += drawn
                kept_onward = onward > 0 and (is_kept or _keeps(terms, index))
                if index < resets:
                    next_starts[onward, kept_onward] += drawn
                else:
                    counted = count + 1 if index == 2 and terms.rules[1].has_pity else 0
                    reached[counted, kept_onward] += drawn
        position = onward
        chance_at = {state: chance for state, chance in reached.items() if chance > NEGLIGIBLE}
    return _Interval(made, hits, {start: share for start, share in next_starts.items() if share})


def _stationary(steps: Mapping[Start, Mapping[Start, float]]) -> dict[Start, float]:
    """How often each state comes in the long run, up to a common factor.

    The states must all reach one another. Eliminates them one by one (Grassmann, Taksar and
    Heyman 1985), which subtracts nothing and so loses no digits.
    """
    states = list(steps)
    matrix = [[steps[state].get(other, 0.0) for other in states] for state in states]
    for last in range(len(states) - 1, 0, -1):
        leaves = sum(matrix[last][:last])
        for row in matrix[:last]:
            row[last] /= leaves
            for column in range(last):
                row[column] += row[last] * matrix[last][column]
    often = [1.0]
    for last in range(1, len(states)):
        often.append(sum(often[row] * matrix[row][last] for row in range(last)))
    return dict(zip(states, often, strict=True))


def _weights(terms: Terms, pulls: tuple[int, int], is_floored: bool) -> Weights:
    """The weight of each rarity at a pull with these numbers since the last ultra rare, and since
    the last super rare or above."""
    weights = rarity_weights(terms, *pulls)
    if is_floored and terms.ten_pull_guarantee is not None:
        return guaranteed_weights(weights, terms.ten_pull_guarantee, terms.guarantee_mode)
    return weights


def _keeps(terms: Terms, index: int) -> bool:
    """Whether a draw of this rarity keeps the guarantee."""
    promise = terms.ten_pull_guarantee
    return promise is not None and RARITIES[index].at_least(promise)
