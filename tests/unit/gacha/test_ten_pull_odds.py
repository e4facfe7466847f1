"""The odds of ten pulls at once, compared with known figures, with an independent computation, and
with draws."""

import math
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.draw import draw
from gacha_svc.domain.odds.long_run import consolidated_rates
from gacha_svc.domain.odds.ten_pulls import ten_pull_rates
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.terms import GuaranteeMode, SoftPity
from tests.unit.gacha.catalogs import (
    BEGINNER,
    ITEMS,
    KEEPS_TOP_RATE,
    RATE_UP,
    SR,
    UR,
    R,
    banner_of,
    banners,
    rule,
)

KEEP, PROPORTIONAL = GuaranteeMode.KEEP_TOP_RATE, GuaranteeMode.PROPORTIONAL
ABOVE = {
    "nothing": rule(UR, 20_000),
    "hard": rule(UR, 150_000, hard=12),
    "both": rule(UR, 60_000, soft=SoftPity(from_pull=3, step_ppm=90_000), hard=11),
}
"""With rates at which stepping settles soon."""
BELOW = {
    "nothing": rule(SR, 30_000),
    "hard": rule(SR, 51_000, hard=14),
    "soft": rule(SR, 51_000, soft=SoftPity(from_pull=3, step_ppm=100_000)),
}
BANNERS = {
    f"{above} above {below}, {mode}, {promise}": banner_of(a, b, guarantee=promise, mode=mode)
    for above, a in ABOVE.items()
    for below, b in BELOW.items()
    for mode, promise in ((KEEP, SR), (PROPORTIONAL, SR), (PROPORTIONAL, UR))
}


def percent(rates: tuple[float, ...]) -> list[float]:
    return [100 * rate for rate in rates]


def rates_of(banner: Banner) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fresh, and in the long run."""
    rates = ten_pull_rates(banner, consolidated_rates(banner))
    return rates.fresh, rates.long_run


def test_a_plain_banner_that_keeps_its_top_rate_gives_the_known_figure() -> None:
    fresh, long_run = rates_of(KEEPS_TOP_RATE)
    assert percent(fresh) == pytest.approx([3, 19.388580, 77.611420], abs=5e-7)
    assert long_run == fresh


def test_a_proportional_guarantee_lifts_the_top_rate_too() -> None:
    fresh, _ = rates_of(BEGINNER)
    assert percent(fresh) == pytest.approx([1.3487, 12.1381, 86.5132], abs=5e-5)
    ninth = 0.9**9
    assert fresh[0] == pytest.approx((9 * 0.01 + (1 - ninth) * 0.01 + ninth * 0.1) / 10)


def test_without_a_guarantee_ten_pulls_are_ten_single_pulls() -> None:
    fresh, long_run = rates_of(RATE_UP)
    assert long_run == consolidated_rates(RATE_UP)
    # The tenth is certain to be super rare or above, if none was.
    certain = 0.943**9 * 0.943
    assert percent(fresh) == pytest.approx([0.6, 5.1 + 10 * certain, 94.3 - 10 * certain])


def rate(banner: Banner, index: int, pull: int) -> float:
    each = banner.rules[index]
    if each.hard_pity and pull >= each.hard_pity:
        return 1.0
    soft = each.soft_pity
    steps = max(0, pull - soft.from_pull + 1) if soft else 0
    return min(1.0, (each.base_rate_ppm + steps * (soft.step_ppm if soft else 0)) / 1e6)


def tenth(banner: Banner, first: float, second: float) -> list[float]:
    """The shares at a tenth pull that has to keep the promise."""
    if banner.ten_pull_guarantee is UR:
        return [1.0, 0.0, 0.0]
    if banner.guarantee_mode is KEEP:
        return [first, 1 - first, 0.0]
    both = first + second
    return [first / both, second / both, 0.0] if both else [0.0, 1.0, 0.0]


def stepped(banner: Banner, ten_pull_count: int) -> Iterator[list[float]]:
    """The shares in each ten-pull, by stepping a distribution over both counts and the promise,
    pull by pull. Written from the text of the rules alone, with its own computation of rates."""

    promise = {UR: 0, SR: 1, None: 2}[banner.ten_pull_guarantee]
    chance_at = {(0, 0): 1.0}
    for _ in range(ten_pull_count):
        shares = [0.0, 0.0, 0.0]
        kept_at = {(*state, promise == 2): chance for state, chance in chance_at.items()}
        for position in range(1, 11):
            reached: dict[tuple[int, int, bool], float] = {}
            for (ultra, over, kept), chance in kept_at.items():
                first = rate(banner, 0, ultra + 1)
                second = min(rate(banner, 1, over + 1), 1 - first)
                three = [first, second, 1 - first - second]
                if position == 10 and not kept:
                    three = tenth(banner, first, second)
                # Counts above 14 make no difference for the banners here.
                onward = min(ultra + 1, 14), min(over + 1, 14)
                for index, state in enumerate(((0, 0), (onward[0], 0), onward)):
                    shares[index] += chance * three[index] / 10
                    key = (*state, kept or index <= promise)
                    reached[key] = reached.get(key, 0.0) + chance * three[index]
            kept_at = reached
        chance_at = {}
        for (ultra, over, _), chance in kept_at.items():
            chance_at[ultra, over] = chance_at.get((ultra, over), 0.0) + chance
        yield shares


@pytest.mark.parametrize("banner", BANNERS.values(), ids=BANNERS)
def test_ten_pull_odds_are_those_of_stepping_pull_by_pull(banner: Banner) -> None:
    fresh, long_run = rates_of(banner)
    first, *_, settled = stepped(banner, 30)
    assert fresh == pytest.approx(first, rel=1e-12)
    assert long_run == pytest.approx(settled, rel=1e-9)


@pytest.mark.parametrize("mode", [PROPORTIONAL, KEEP])
def test_pity_alone_comes_on_time_whatever_the_guarantee(mode: GuaranteeMode) -> None:
    """Such a banner never settles: its ten-pulls repeat after thirteen."""
    banner = banner_of(rule(UR, 0, hard=13), rule(SR, 30_000), guarantee=SR, mode=mode)
    fresh, long_run = rates_of(banner)
    assert fresh[0] == 0
    assert long_run[0] == pytest.approx(1 / 13, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(banners())
def test_ten_pull_odds_of_any_banner_add_up_and_keep_what_they_promise(banner: Banner) -> None:
    for rates in rates_of(banner):
        assert sum(rates) == pytest.approx(1)
        assert min(rates) >= 0
        promise = {UR: 1, SR: 2, None: 0}[banner.ten_pull_guarantee]
        assert sum(rates[:promise]) >= 0.1 - 1e-9 or not promise
    fresh, _ = rates_of(banner)
    (first,) = stepped(banner, 1)
    assert fresh == pytest.approx(first, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", [PROPORTIONAL, KEEP])
def test_ten_pulls_come_as_often_as_published(mode: GuaranteeMode) -> None:
    """Within five standard errors of independent draws, for new players and in the long run."""
    banner = banner_of(
        rule(UR, 10_000, hard=30), rule(SR, 40_000, hard=25), guarantee=SR, mode=mode
    )
    source = random.Random(5).randbytes
    ten_pull_count = 4_000
    seen: dict[str, Counter[str]] = {"fresh": Counter(), "long run": Counter()}
    pity = Pity()
    for _ in range(ten_pull_count):
        first, _ = draw(banner, ITEMS, Pity(), 10, source)
        drawn, pity = draw(banner, ITEMS, pity, 10, source)
        seen["fresh"].update(each.item.rarity for each in first)
        seen["long run"].update(each.item.rarity for each in drawn)
    for name, rates in zip(seen, rates_of(banner), strict=True):
        for rarity, rate in zip((UR, SR, R), rates, strict=True):
            error = math.sqrt(rate * (1 - rate) / (10 * ten_pull_count))
            assert seen[name][rarity] / (10 * ten_pull_count) == pytest.approx(rate, abs=5 * error)


def test_odds_of_the_longest_pity_are_finished() -> None:
    soft = SoftPity(from_pull=900, step_ppm=10_000)
    longest = rule(UR, 1, soft=soft, hard=1_000), rule(SR, 1, soft=soft, hard=1_000)
    fresh, long_run = rates_of(banner_of(*longest, guarantee=SR))
    assert sum(fresh[:2]) == pytest.approx(0.1, rel=1e-4)
    assert sum(long_run) == pytest.approx(1)
