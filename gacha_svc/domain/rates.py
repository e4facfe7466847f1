"""The rates of a pull.

`draw` and `odds` both use these functions, so the published rates are those of the draws. All
rates are whole parts per million.
"""

from gacha_svc.domain.field_types import CERTAIN_PPM, MAX_PITY_PULLS
from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.terms import GuaranteeMode, RarityRule, Terms

Weights = tuple[int, int, int]
NEVER = 1e-9
"""A rarity that comes with a smaller chance from one reset of the pity to the next never comes. The
smallest rate is 1e-6."""


def curve_rate_ppm(
    base_rate_ppm: int,
    soft_pity_from: int | None,
    soft_pity_step_ppm: int,
    hard_pity: int | None,
    pull: int,
) -> int:
    """The rate at the `pull`-th pull since the last hit, 1 for the first after it.

    None means no such pity. A pull beyond the hard pity is certain too, because the pity may
    have been collected under another rule.
    """
    if hard_pity is not None and pull >= hard_pity:
        return CERTAIN_PPM
    if soft_pity_from is None or pull < soft_pity_from:
        return base_rate_ppm
    return min(CERTAIN_PPM, base_rate_ppm + (pull - soft_pity_from + 1) * soft_pity_step_ppm)


def effective_rate_ppm(rule: RarityRule, pull: int) -> int:
    """The rule's rate at the `pull`-th pull since the last of its rarity or above."""
    soft = rule.soft_pity
    return curve_rate_ppm(
        rule.base_rate_ppm,
        soft.from_pull if soft else None,
        soft.step_ppm if soft else 0,
        rule.hard_pity,
        pull,
    )


def rarity_weights(terms: Terms, ultra_rare_pull: int, super_rare_pull: int) -> Weights:
    """The chance of each rarity at a pull, highest first; together 100 %.

    The arguments are the numbers of the pull since the last ultra rare, and since the last super
    rare or above.
    """
    return shared_out(
        effective_rate_ppm(terms.rules[0], ultra_rare_pull),
        effective_rate_ppm(terms.rules[1], super_rare_pull),
    )


def shared_out(ultra_rare_ppm: int, super_rare_ppm: int) -> Weights:
    """The chance of each rarity at these rates, highest first; together 100 %.

    The highest rarity gets its rate, the next its rate or the remainder, the lowest the rest.
    """
    left = CERTAIN_PPM - ultra_rare_ppm
    super_rare = min(left, super_rare_ppm)
    return ultra_rare_ppm, super_rare, left - super_rare


def impossible_rarities(terms: Terms) -> tuple[Rarity, ...]:
    """The rarities that single pulls never give, because those above leave no room, or are
    certain before a pity below them that they reset.

    It follows the draws of the lowest rarity alone: rates only rise on that way, and every other
    draw goes back on it. The highest rarity always comes, as its rule has a rate or a pity.
    """
    chance, found = 1.0, {RARITIES[0]}
    for pull in range(1, MAX_PITY_PULLS + 1):
        weights = rarity_weights(terms, pull, pull)
        found |= {rarity for rarity, weight in zip(RARITIES, weights, strict=True) if weight}
        chance *= weights[-1] / CERTAIN_PPM
        if chance < NEVER or len(found) == len(RARITIES):
            break
    return tuple(rarity for rarity in RARITIES if rarity not in found)


def guaranteed_weights(weights: Weights, guarantee: Rarity, mode: GuaranteeMode) -> Weights:
    """The weights at a tenth pull that has to keep the guarantee, highest first.

    Their sum is more than 0, and the chance of a rarity is its share of it. If the rates of the
    guaranteed rarity and above are all 0, for example because only pity gives these rarities, the
    guaranteed one is certain.
    """
    at = RARITIES.index(guarantee)
    kept = [weight if index <= at else 0 for index, weight in enumerate(weights)]
    if mode is GuaranteeMode.KEEP_TOP_RATE:
        kept[at] += sum(weights[at + 1 :])
    elif not any(kept):
        kept[at] = 1
    ultra_rare, super_rare, rare = kept
    return ultra_rare, super_rare, rare
