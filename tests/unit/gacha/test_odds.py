"""Published odds, compared with known figures, with an independent computation, and with draws."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.draw import draw
from gacha_svc.domain.odds.long_run import consolidated_rates, renewal
from gacha_svc.domain.odds.published import chances_percent, disclose
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.rates import effective_rate_ppm
from gacha_svc.domain.terms import SoftPity
from tests.unit.gacha.catalogs import (
    BEGINNER,
    FLAT,
    ITEMS,
    RATE_UP,
    SOFT_74,
    SR,
    UR,
    R,
    banner_of,
    rule,
)

SOFT_BELOW = banner_of(
    rule(UR, 10_000, hard=60), rule(SR, 40_000, soft=SoftPity(from_pull=6, step_ppm=70_000))
)
PITY_BELOW_ALONE = banner_of(rule(UR, 20_000), rule(SR, 51_000, hard=10))
FEATURED_BELOW = banner_of(
    rule(UR, 6_000, soft=SOFT_74, featured=(301, 302), share_ppm=750_000),
    rule(SR, 51_000, soft=SoftPity(from_pull=9, step_ppm=510_000), hard=10, featured=(201,)),
)
BANNERS = {
    "rate up": RATE_UP,
    "no pity": FLAT,
    "beginner": BEGINNER,
    "soft pity below": SOFT_BELOW,
    "pity below alone": PITY_BELOW_ALONE,
    "featured below": FEATURED_BELOW,
}


@pytest.mark.parametrize(
    ("curve", "expected_pulls", "consolidated_percent"),
    [
        pytest.param((6_000, 74, 60_000, 90), 62.2973, 1.6052, id="soft and hard"),
        pytest.param((6_000, 74, 60_000, None), 62.2973, 1.6052, id="soft alone reaches certainty"),
        pytest.param((6_000, None, 0, 90), 69.6998, 1.4347, id="hard alone"),
        pytest.param((6_000, 0, 0, 0), 166.6667, 0.6, id="none"),
        pytest.param((7_000, 63, 70_000, 80), 53.2504, 1.8779, id="another soft and hard"),
        pytest.param((0, None, 0, 90), 90, 1.1111, id="pity alone"),
        pytest.param((500_000, None, 0, 2), 1.5, 66.6667, id="by hand: 1 + 1/2"),
        pytest.param((500_000, 2, 250_000, None), 1.625, 61.5385, id="by hand: 1 + 1/2 + 1/8"),
        pytest.param((1_000_000, None, 0, None), 1, 100, id="always"),
        pytest.param((6_000, 1, 1_000_000, None), 1, 100, id="soft from the first pull"),
        pytest.param((6_000, None, 0, 1), 1, 100, id="hard at the first pull"),
        pytest.param((1, None, 0, None), 1e6, 0.0001, id="the smallest rate"),
    ],
)
def test_renewal_gives_known_figures(
    curve: tuple[int, int | None, int, int | None],
    expected_pulls: float,
    consolidated_percent: float,
) -> None:
    found = renewal(*curve)
    assert found.expected_pulls == pytest.approx(expected_pulls, abs=5e-5)
    assert found.consolidated_rate * 100 == pytest.approx(consolidated_percent, abs=5e-5)


def test_an_impossible_hit_has_an_infinite_expected_wait() -> None:
    assert renewal(0).expected_pulls == math.inf
    assert renewal(0).consolidated_rate == 0


@given(
    st.integers(0, 1_000_000),
    st.none() | st.integers(1, 60),
    st.integers(1, 300_000),
    st.integers(1, 80),
)
def test_renewal_agrees_with_the_plain_sum(
    base_ppm: int, soft_from: int | None, step_ppm: int, hard: int
) -> None:
    expected, survival = 0.0, 1.0
    for pull in range(1, hard + 1):
        expected += survival
        raised = step_ppm * (pull - soft_from + 1) if soft_from and pull >= soft_from else 0
        survival *= 1 - min(1.0, (base_ppm + raised) / 1e6)
    found = renewal(base_ppm, soft_from, step_ppm, hard)
    assert found.expected_pulls == pytest.approx(expected, rel=1e-12)


def rates_by_stepping(banner: Banner, pulls: int = 1_000) -> list[float]:
    """The long-run rates, by stepping a distribution over both counts pull by pull.

    Written from the text of the rules alone, with its own computation of rates.
    """

    def rate(index: int, pull: int) -> float:
        each = banner.rules[index]
        if each.hard_pity and pull >= each.hard_pity:
            return 1.0
        soft = each.soft_pity
        steps = max(0, pull - soft.from_pull + 1) if soft else 0
        return min(1.0, (each.base_rate_ppm + steps * (soft.step_ppm if soft else 0)) / 1e6)

    # Counts above 12 make no difference for the banners below.
    ultra_rates, over_rates = ([rate(index, pull) for pull in range(1, 14)] for index in (0, 1))
    chance_at = {(0, 0): 1.0}
    shares = [0.0, 0.0, 0.0]
    for _ in range(pulls):
        reached: dict[tuple[int, int], float] = {}
        shares = [0.0, 0.0, 0.0]
        for (ultra, over), chance in chance_at.items():
            first = ultra_rates[ultra]
            second = min(over_rates[over], 1 - first)
            onward = min(ultra + 1, 12), min(over + 1, 12)
            for index, share, state in (
                (0, first, (0, 0)),
                (1, second, (onward[0], 0)),
                (2, 1 - first - second, onward),
            ):
                shares[index] += chance * share
                reached[state] = reached.get(state, 0.0) + chance * share
        chance_at = reached
    return shares


@pytest.mark.parametrize(
    "banner",
    [
        pytest.param(banner_of(a, b), id=f"{above} above {below}")
        for above, a in (
            ("nothing", rule(UR, 20_000)),
            ("hard", rule(UR, 20_000, hard=12)),
            ("soft", rule(UR, 20_000, soft=SoftPity(from_pull=5, step_ppm=200_000))),
            ("both", rule(UR, 10_000, soft=SoftPity(from_pull=7, step_ppm=90_000), hard=11)),
        )
        for below, b in (
            ("nothing", rule(SR, 100_000)),
            ("hard", rule(SR, 51_000, hard=7)),
            ("soft", rule(SR, 51_000, soft=SoftPity(from_pull=3, step_ppm=150_000))),
            ("both", rule(SR, 0, soft=SoftPity(from_pull=7, step_ppm=510_000), hard=8)),
        )
    ],
)
def test_consolidated_rates_are_the_stationary_ones(banner: Banner) -> None:
    assert consolidated_rates(banner) == pytest.approx(rates_by_stepping(banner), rel=1e-8)


@pytest.mark.parametrize("name", BANNERS)
def test_draws_come_as_often_as_published(name: str) -> None:
    """Within five standard errors of independent draws; pity only makes the spread smaller."""
    banner, source, pity, pulls = BANNERS[name], random.Random(20).randbytes, Pity(), 20_000
    seen = Counter[str]()
    featured = Counter[str]()
    for _ in range(pulls):
        (drawn,), pity = draw(banner, ITEMS, pity, 1, source)
        seen[drawn.item.rarity] += 1
        featured[drawn.item.rarity] += drawn.featured
    for odds in disclose(banner).rarities:
        rate = odds.consolidated_rate_percent / 100
        error = math.sqrt(rate * (1 - rate) / pulls)
        assert seen[odds.rarity] / pulls == pytest.approx(rate, abs=5 * error)
        if odds.featured_share_percent:
            # A lost share is followed by a certain win: of 2 - share draws, one is lost
            # with the chance 1 - share, so 1 / (2 - share) are featured.
            share = 1 / (2 - odds.featured_share_percent / 100)
            error = math.sqrt(share * (1 - share) / seen[odds.rarity])
            assert featured[odds.rarity] / seen[odds.rarity] == pytest.approx(share, abs=5 * error)


@pytest.mark.parametrize("name", BANNERS)
def test_disclosed_shares_add_up(name: str) -> None:
    disclosed = disclose(BANNERS[name]).rarities
    assert [odds.rarity for odds in disclosed] == [UR, SR, R]
    assert sum(odds.base_rate_percent for odds in disclosed) == pytest.approx(100)
    assert sum(odds.consolidated_rate_percent for odds in disclosed) == pytest.approx(100)
    for odds in disclosed:
        items_percent = sum(item.base_rate_percent for item in odds.items)
        assert items_percent == pytest.approx(odds.base_rate_percent)
        assert odds.expected_pulls * odds.consolidated_rate_percent == pytest.approx(100)


def test_disclosure_names_pity_shares_and_items() -> None:
    ultra_rare, super_rare, rare = disclose(RATE_UP).rarities
    assert (ultra_rare.soft_pity_from, ultra_rare.soft_pity_step_percent) == (74, 6.0)
    assert (ultra_rare.hard_pity, super_rare.hard_pity, rare.hard_pity) == (90, 10, 0)
    assert (ultra_rare.base_rate_percent, rare.base_rate_percent) == (0.6, 94.3)
    assert (ultra_rare.featured_share_percent, super_rare.featured_share_percent) == (50.0, 0.0)
    assert [(item.item_id, item.featured) for item in ultra_rare.items] == [
        (301, True),
        (302, False),
        (303, False),
        (304, False),
    ]
    assert [item.base_rate_percent for item in ultra_rare.items] == [0.3, 0.1, 0.1, 0.1]
    assert chances_percent(RATE_UP) == {UR: 0.6, SR: 5.1, R: 94.3}


def test_odds_of_a_very_long_pity_are_finished() -> None:
    banner = banner_of(
        rule(UR, 1, soft=SoftPity(from_pull=500, step_ppm=100)),
        rule(SR, 1, soft=SoftPity(from_pull=400, step_ppm=100), hard=600),
    )
    ultra_rare, super_rare, rare = consolidated_rates(banner)
    assert 1 / ultra_rare == pytest.approx(renewal(1, 500, 100).expected_pulls)
    assert 0 < super_rare < 0.01
    assert ultra_rare + super_rare + rare == pytest.approx(1)


def test_a_tiny_rate_without_pity_takes_no_long_recursion() -> None:
    banner = banner_of(rule(UR, 1), rule(SR, 51_000, hard=10))
    ultra_rare, super_rare, _ = consolidated_rates(banner)
    assert ultra_rare == pytest.approx(1e-6)
    # Either of the two ends a stretch, whose length is that of their common curve.
    both = renewal(51_001, hard_pity=10).consolidated_rate
    assert super_rare == pytest.approx(both - ultra_rare)


def test_a_pool_of_featured_items_alone_is_published_as_all_featured() -> None:
    banner = banner_of(rule(UR, 6_000, featured=(301, 302), item_ids=()), rule(SR, 51_000))
    ultra_rare = disclose(banner).rarities[0]
    assert ultra_rare.featured_share_percent == 100
    assert [item.base_rate_percent for item in ultra_rare.items] == [0.3, 0.3]


def pulls_to_first_featured(banner: Banner) -> float:
    """For a player without pulls, by following the chance of each pity and guarantee."""
    ultra_rare = banner.rules[0]
    assert ultra_rare.featured is not None
    share = ultra_rare.featured.share_ppm / 1e6
    chance_at, expected = {(0, False): 1.0}, 0.0
    while chance_at:
        expected += sum(chance_at.values())
        reached: dict[tuple[int, bool], float] = {}
        for (since, guaranteed), chance in chance_at.items():
            hit = effective_rate_ppm(ultra_rare, since + 1) / 1e6
            lost = 0.0 if guaranteed else hit * (1 - share)
            for state, part in (((since + 1, guaranteed), 1 - hit), ((0, True), lost)):
                reached[state] = reached.get(state, 0.0) + chance * part
        chance_at = {state: chance for state, chance in reached.items() if chance > 1e-17}
    return expected


def test_expected_pulls_to_a_featured_item_count_pity_and_the_guarantee() -> None:
    expected = disclose(RATE_UP).expected_pulls_featured
    assert expected == pytest.approx(93.446, abs=5e-4)
    assert expected == pytest.approx(pulls_to_first_featured(RATE_UP), rel=1e-12)
    assert disclose(FEATURED_BELOW).expected_pulls_featured == pytest.approx(
        pulls_to_first_featured(FEATURED_BELOW), rel=1e-12
    )


def test_expected_pulls_to_a_featured_item_are_of_the_highest_rarity_that_has_any() -> None:
    assert disclose(FLAT).expected_pulls_featured == 0
    below = banner_of(rule(UR, 6_000), rule(SR, 51_000, featured=(201,), share_ppm=250_000))
    assert disclose(below).expected_pulls_featured == pytest.approx(1.75 / 0.051)
    alone = banner_of(rule(UR, 6_000, featured=(301,), item_ids=()), rule(SR, 51_000))
    assert disclose(alone).expected_pulls_featured == pytest.approx(1 / 0.006)


def test_featured_items_come_as_often_as_published() -> None:
    source, pity, pulls = random.Random(93).randbytes, Pity(), 30_000
    featured = 0
    for _ in range(pulls):
        (drawn,), pity = draw(RATE_UP, ITEMS, pity, 1, source)
        featured += drawn.featured and drawn.item.rarity is UR
    rate = 1 / disclose(RATE_UP).expected_pulls_featured
    assert featured / pulls == pytest.approx(rate, abs=5 * math.sqrt(rate / pulls))
