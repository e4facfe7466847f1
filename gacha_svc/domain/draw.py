"""A pull: its items, and the player's pity after it.

Pure: the same terms, pity and random bytes give the same items. The order of the rolls is
fixed: the rarity, then the featured share if the rarity has one, then the item.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gacha_svc.domain.banners import Item
from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.randomness import RandomBytes, uniform_below
from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.rates import guaranteed_weights, rarity_weights
from gacha_svc.domain.terms import RarityRule, Terms


class DrawnItem(NamedTuple):
    """One item of a pull, with the effect of pity and guarantees on it."""

    item: Item
    featured: bool
    pity: int
    """The number of the pull since the last ultra rare of the kind, 1 for the first."""
    featured_guaranteed: bool
    """Whether it was certain to be featured, because the one before of its rarity was not."""
    ten_pull_guaranteed: bool
    """Whether it is the tenth of a ten-pull, drawn to keep the guarantee after nine below it."""


def draw(
    terms: Terms,
    items_by_id: Mapping[int, Item],
    pity: Pity,
    count: int,
    random_bytes: RandomBytes,
) -> tuple[tuple[DrawnItem, ...], Pity]:
    """Draws `count` (1 or 10) items, in order, and returns them with the pity after them.

    In a ten-pull whose first nine items are all below the guarantee of the terms, the tenth
    keeps it, in the guarantee's mode. For example:

        drawn, pity = draw(terms, items_by_id, pity, 10, secrets.token_bytes)
        names = [each.item.name for each in drawn]
    """
    assert count in (1, 10), "check_count comes first"
    promise = terms.ten_pull_guarantee if count == 10 else None
    kept = False
    drawn: list[DrawnItem] = []
    for position in range(1, count + 1):
        guarantee = promise if position == 10 and not kept else None
        rarity = _draw_rarity(terms, pity, guarantee, random_bytes)
        rule = terms.rule(rarity)
        item_id, featured, after = _draw_item(rule, pity, random_bytes)
        drawn.append(
            DrawnItem(
                items_by_id[item_id],
                featured,
                pity.since_ultra_rare + 1,
                rule.featured is not None and pity.is_guaranteed(rarity),
                guarantee is not None,
            )
        )
        kept = kept or (promise is not None and rarity.at_least(promise))
        pity = after.after(rarity)
    return tuple(drawn), pity


def _draw_rarity(
    terms: Terms, pity: Pity, guarantee: Rarity | None, random_bytes: RandomBytes
) -> Rarity:
    """One roll over the rarities, or over those that keep the guarantee."""
    weights = rarity_weights(terms, pity.since_ultra_rare + 1, pity.since_super_rare + 1)
    if guarantee is not None:
        weights = guaranteed_weights(weights, guarantee, terms.guarantee_mode)
    roll = uniform_below(sum(weights), random_bytes)
    for rarity, weight in zip(RARITIES, weights, strict=True):
        if roll < weight:
            return rarity
        roll -= weight
    raise AssertionError("the weights cover every roll")


def _draw_item(rule: RarityRule, pity: Pity, random_bytes: RandomBytes) -> tuple[int, bool, Pity]:
    """The item's id, whether it is featured, and the pity with the guarantee settled.

    A rule without featured items keeps the guarantee for a banner that has some.
    """
    if rule.featured is None:
        return _choose(rule.standard_ids, random_bytes), False, pity
    featured = (
        not rule.standard_ids
        or pity.is_guaranteed(rule.rarity)
        or uniform_below(CERTAIN_PPM, random_bytes) < rule.featured.share_ppm
    )
    item_ids = rule.featured_ids if featured else rule.standard_ids
    settled = pity.with_guarantee(rule.rarity, not featured)
    return _choose(item_ids, random_bytes), featured, settled


def _choose(item_ids: tuple[int, ...], random_bytes: RandomBytes) -> int:
    return item_ids[uniform_below(len(item_ids), random_bytes)]
