"""The published odds, computed from the rates that pulls are drawn from.

All figures are computed and not simulated, so they are exact up to floating-point rounding.
Long-run figures of `RarityOdds` are for single pulls, one after another on banners of one kind.
`TenPullOdds` has those of ten-pulls, which a guarantee raises.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.odds.long_run import consolidated_rates
from gacha_svc.domain.odds.ten_pulls import ten_pull_rates
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.terms import RarityRule, Terms


@dataclass(frozen=True, slots=True)
class ItemOdds:
    """One item's chance at one pull, before pity and before any guarantee."""

    item_id: int
    featured: bool
    base_rate_percent: float


@dataclass(frozen=True, slots=True)
class RarityOdds:
    """One rarity's odds on a banner; rates in percent, pulls counted from 1."""

    rarity: Rarity
    base_rate_percent: float
    soft_pity_from: int
    """0 for never."""
    soft_pity_step_percent: float
    """Percentage points a pull."""
    hard_pity: int
    """0 for never."""
    consolidated_rate_percent: float
    """Percent of all pulls in the long run, including pity."""
    expected_pulls: float
    """Average pulls from one of this rarity to the next; infinite if there is none."""
    featured_share_percent: float
    """Percent of this rarity's draws without a guarantee; 0 if no item is featured."""
    items: tuple[ItemOdds, ...]


@dataclass(frozen=True, slots=True)
class TenPullOdds:
    """One rarity's odds in ten pulls at once, in percent of all pulls, the guarantee and pity
    counted."""

    rarity: Rarity
    fresh_rate_percent: float
    """In the first ten-pull of a player without pulls of the kind."""
    consolidated_rate_percent: float
    """In the long run of a player who makes ten-pulls alone."""
    expected_pulls: float
    """Average pulls from one of this rarity to the next in that long run; infinite if there is
    none."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """All figures of some terms; rarities highest first."""

    rarities: tuple[RarityOdds, ...]
    ten_pulls: tuple[TenPullOdds, ...]
    expected_pulls_featured: float
    """Average single pulls from one featured item of the highest rarity that has any to the next,
    guarantees and pity counted; 0 if nothing is featured."""
    expected_pulls_featured_in_tens: float
    """The same of a player who makes ten-pulls alone. Each counts as ten pulls."""


def disclose(terms: Terms) -> Disclosure:
    """Computes the odds.

    Takes milliseconds, and up to two seconds for the longest allowed pity: cache the result by
    the `odds_version`.
    """
    rates = consolidated_rates(terms)
    of_ten = ten_pull_rates(terms, rates)
    return Disclosure(
        rarities=tuple(
            _disclose_rarity(rule, rate) for rule, rate in zip(terms.rules, rates, strict=True)
        ),
        ten_pulls=tuple(
            TenPullOdds(rule.rarity, fresh * 100, long_run * 100, _expected_pulls(long_run))
            for rule, fresh, long_run in zip(
                terms.rules, of_ten.fresh, of_ten.long_run, strict=True
            )
        ),
        expected_pulls_featured=_expected_pulls_featured(terms, rates),
        expected_pulls_featured_in_tens=_expected_pulls_featured(terms, of_ten.long_run),
    )


def chances_percent(terms: Terms) -> dict[Rarity, float]:
    """Each rarity's base rate in percent; together 100."""
    return {rule.rarity: _percent(rule.base_rate_ppm) for rule in terms.rules}


def _disclose_rarity(rule: RarityRule, consolidated_rate: float) -> RarityOdds:
    soft = rule.soft_pity
    return RarityOdds(
        rarity=rule.rarity,
        base_rate_percent=_percent(rule.base_rate_ppm),
        soft_pity_from=soft.from_pull if soft else 0,
        soft_pity_step_percent=_percent(soft.step_ppm) if soft else 0.0,
        hard_pity=rule.hard_pity or 0,
        consolidated_rate_percent=consolidated_rate * 100,
        expected_pulls=_expected_pulls(consolidated_rate),
        featured_share_percent=_percent(rule.featured_share_ppm),
        items=tuple(_item_odds(rule)),
    )


def _expected_pulls_featured(terms: Terms, rates: Sequence[float]) -> float:
    """A lost share is followed by a certain win, so of 2 - share items of the rarity one is
    featured, in the long run. Every ultra rare starts its rarity's pity anew, so in single pulls a
    player without pulls waits as long."""
    for rule, rate in zip(terms.rules, rates, strict=True):
        if rule.featured:
            share = rule.featured_share_ppm / CERTAIN_PPM
            return (2 - share) * _expected_pulls(rate)
    return 0.0


def _expected_pulls(rate: float) -> float:
    """The average number of pulls from one hit to the next."""
    return 1 / rate if rate else math.inf


def _item_odds(rule: RarityRule) -> list[ItemOdds]:
    """Featured items first, each part by id."""
    featured_ppm = Fraction(rule.base_rate_ppm * rule.featured_share_ppm, CERTAIN_PPM)
    standard_ppm = rule.base_rate_ppm - featured_ppm
    return [
        ItemOdds(item_id, featured, _percent(share / len(item_ids)))
        for item_ids, featured, share in (
            (rule.featured_ids, True, featured_ppm),
            (rule.standard_ids, False, standard_ppm),
        )
        for item_id in item_ids
    ]


def _percent(rate_ppm: Fraction | int) -> float:
    return float(Fraction(rate_ppm) / 10_000)
