"""What a player's pity makes of the next single pull."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.rates import rarity_weights
from gacha_svc.domain.terms import RarityRule, Terms


@dataclass(frozen=True, slots=True)
class RarityAhead:
    """One rarity at the next single pull; rates in percent."""

    rarity: Rarity
    rate_percent: float
    featured_rate_percent: float
    """Of a featured item of this rarity; 0 if none is featured."""
    is_featured_guaranteed: bool
    """Whether the next item of this rarity is certain to be featured. It is kept for later on a
    banner without featured items."""
    pulls_to_hard_pity: int
    """In how many pulls this rarity or above is certain, 1 for the next; 0 for never."""


def next_pull(terms: Terms, pity: Pity) -> tuple[RarityAhead, ...]:
    """Every rarity, highest first. The rates are those that the pull is drawn by."""
    return tuple(_ahead(terms, pity))


def _ahead(terms: Terms, pity: Pity) -> Iterator[RarityAhead]:
    counts = pity.since_ultra_rare, pity.since_super_rare, 0
    weights = rarity_weights(terms, counts[0] + 1, counts[1] + 1)
    for rule, weight, count in zip(terms.rules, weights, counts, strict=True):
        is_guaranteed = pity.is_guaranteed(rule.rarity)
        featured_ppm = Fraction(weight * _featured_ppm(rule, is_guaranteed), CERTAIN_PPM)
        yield RarityAhead(
            rarity=rule.rarity,
            rate_percent=weight / 10_000,
            featured_rate_percent=float(featured_ppm / 10_000),
            is_featured_guaranteed=is_guaranteed,
            pulls_to_hard_pity=max(1, rule.hard_pity - count) if rule.hard_pity else 0,
        )


def _featured_ppm(rule: RarityRule, is_guaranteed: bool) -> int:
    if rule.featured is None:
        return 0
    return CERTAIN_PPM if is_guaranteed else rule.featured_share_ppm
