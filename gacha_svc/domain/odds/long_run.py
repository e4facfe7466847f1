"""How often each rarity comes in the long run, pity counted.

All figures are computed and not simulated, so they are exact up to floating-point rounding. They
are for single pulls, one after another on banners of one kind.
"""

import math
from dataclasses import dataclass

from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.rates import curve_rate_ppm, effective_rate_ppm, rarity_weights, shared_out
from gacha_svc.domain.terms import Terms

NEGLIGIBLE = 1e-18
"""A recursion stops when the chance to get so far is below this."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """The long run of one rarity under its own pity alone."""

    expected_pulls: float
    """Average number of pulls from one hit to the next; infinite if there is never a hit."""
    consolidated_rate: float
    """Hits among all pulls, from 0 to 1."""


def renewal(
    base_rate_ppm: int,
    soft_pity_from: int | None = None,
    soft_pity_step_ppm: int = 0,
    hard_pity: int | None = None,
) -> Renewal:
    """The long run of one pity curve; None or 0 means no such pity.

    The expected wait is the sum, over all pulls, of the chance to get that far without a hit.
    While the rate is the base rate, that sum is geometric and has a closed form.
    """
    soft_from = soft_pity_from or None if soft_pity_step_ppm > 0 else None
    certain_at = hard_pity or None
    rising_from = min(soft_from or math.inf, certain_at or math.inf)
    expected, survival = _flat_stretch(base_rate_ppm, rising_from - 1)
    pull = rising_from
    while survival > NEGLIGIBLE and pull < math.inf:
        expected += survival
        rate = curve_rate_ppm(base_rate_ppm, soft_from, soft_pity_step_ppm, certain_at, int(pull))
        survival *= 1 - rate / CERTAIN_PPM
        pull += 1
    return Renewal(expected, 1 / expected)


def _flat_stretch(rate_ppm: int, pulls: float) -> tuple[float, float]:
    """The expected number of pulls made out of the first `pulls`, and the chance of no hit in
    them."""
    if rate_ppm == 0:
        return pulls, 1.0
    if rate_ppm >= CERTAIN_PPM:
        return min(pulls, 1.0), 0.0 if pulls else 1.0
    log_miss = math.log1p(-rate_ppm / CERTAIN_PPM)
    return -math.expm1(pulls * log_miss) * CERTAIN_PPM / rate_ppm, math.exp(pulls * log_miss)


def consolidated_rates(terms: Terms) -> tuple[float, float, float]:
    """Each rarity's share of all pulls in the long run, from 0 to 1, highest first."""
    highest = terms.rules[0]
    soft = highest.soft_pity
    ultra_rare = renewal(
        highest.base_rate_ppm,
        soft.from_pull if soft else None,
        soft.step_ppm if soft else 0,
        highest.hard_pity,
    ).consolidated_rate
    if highest.has_pity:
        super_rare = _super_rare_rate_between_ultra_rares(terms)
    else:
        super_rare = _super_rare_rate_at_flat_ultra_rare(terms)
    return ultra_rare, super_rare, max(0.0, 1.0 - ultra_rare - super_rare)


def _super_rare_rate_between_ultra_rares(terms: Terms) -> float:
    """Super rares in the pulls from one ultra rare to the next, over those pulls.

    Each ultra rare resets both counts, so the intervals between them are independent and
    identically distributed (a renewal reward process). The recursion goes forward through one
    interval. For each count of pulls since the last super rare, as far as that count changes a
    rate, it keeps the chance of that count without an ultra rare so far.
    """
    highest, middle, _ = terms.rules
    super_rare_rates = [effective_rate_ppm(middle, 1)]
    chances = [1.0]
    made, hits, pull = 0.0, 0.0, 1
    while any(chance > NEGLIGIBLE for chance in chances):
        ultra_rare_rate = effective_rate_ppm(highest, pull)
        hits_now = 0.0
        missed: list[float] = []
        for chance, super_rare_rate in zip(chances, super_rare_rates, strict=True):
            _, super_rare, rare = shared_out(ultra_rare_rate, super_rare_rate)
            hits_now += chance * super_rare
            missed.append(chance * rare / CERTAIN_PPM)
        hits_now /= CERTAIN_PPM
        made += sum(chances)
        hits += hits_now
        pull += 1
        if middle.has_pity:
            chances = [hits_now, *missed]
            super_rare_rates.append(effective_rate_ppm(middle, len(chances)))
        else:
            chances = [hits_now + missed[0]]
    return hits / made


def _super_rare_rate_at_flat_ultra_rare(terms: Terms) -> float:
    """The same if the ultra rare's rate never changes, so only one count matters.

    An interval then goes from one super rare or above to the next.
    """
    if not terms.rules[1].has_pity:
        return _shares(terms, 1, 1)[1]
    made, hits, survival, pull = 0.0, 0.0, 1.0, 1
    while survival > NEGLIGIBLE:
        _, super_rare, rare = _shares(terms, 1, pull)
        made += survival
        hits += survival * super_rare
        survival *= rare
        pull += 1
    return hits / made


def _shares(terms: Terms, ultra_rare_pull: int, super_rare_pull: int) -> tuple[float, ...]:
    weights = rarity_weights(terms, ultra_rare_pull, super_rare_pull)
    return tuple(weight / CERTAIN_PPM for weight in weights)
