"""The results of a pull: rates, pity, featured items and the ten-pull's guarantee."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.draw import draw
from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.rates import effective_rate_ppm, rarity_weights
from tests.unit.gacha.catalogs import (
    BEGINNER,
    FLAT,
    ITEMS,
    KEEPS_TOP_RATE,
    RATE_UP,
    SR,
    UR,
    R,
    Script,
    banner_of,
    banners,
    counts_after,
    pities,
    rule,
)

SURELY_RARE = 999_999
"""A roll that any rarity above rare must be certain to win."""


@pytest.mark.parametrize(
    ("pity", "roll", "expected"),
    [
        pytest.param(Pity(), 5_999, UR, id="the last roll of the highest rate"),
        pytest.param(Pity(), 6_000, SR, id="the first roll of the next"),
        pytest.param(Pity(), 56_999, SR, id="the last roll of the next"),
        pytest.param(Pity(), 57_000, R, id="the first roll of the rest"),
        pytest.param(Pity(), 999_999, R, id="the last roll"),
        pytest.param(Pity(72), 6_000, SR, id="pull 73 has the base rate"),
        pytest.param(Pity(73), 65_999, UR, id="pull 74 has 6.6 %, last roll"),
        pytest.param(Pity(73), 66_000, SR, id="pull 74 has 6.6 %, first beyond"),
        pytest.param(Pity(74), 125_999, UR, id="pull 75 has 12.6 %, last roll"),
        pytest.param(Pity(74), 126_000, SR, id="pull 75 has 12.6 %, first beyond"),
        pytest.param(Pity(88), 965_999, UR, id="pull 89 has 96.6 %, last roll"),
        pytest.param(Pity(88), 966_000, SR, id="pull 89 has 96.6 %, first beyond"),
        pytest.param(Pity(88), 999_999, SR, id="pull 89 leaves the next 3.4 of its 5.1 %"),
        pytest.param(Pity(89), 999_999, UR, id="pull 90 is certain"),
        pytest.param(Pity(200), 999_999, UR, id="pity from another banner, beyond the end"),
        pytest.param(Pity(8, 8), 999_999, R, id="pull 9 without a super rare is not certain"),
        pytest.param(Pity(9, 9), 999_999, SR, id="pull 10 without a super rare is certain"),
        pytest.param(Pity(9, 9), 5_999, UR, id="pull 10 may give what is above as well"),
        pytest.param(Pity(89, 9), 999_999, UR, id="both certain: the higher one wins"),
    ],
)
def test_one_roll_decides_the_rarity(pity: Pity, roll: int, expected: Rarity) -> None:
    (drawn,), after = draw(RATE_UP, ITEMS, pity, 1, Script(roll, 0, 0))
    assert drawn.item.rarity is expected
    assert drawn.pity == pity.since_ultra_rare + 1
    assert (after.since_ultra_rare, after.since_super_rare) == counts_after([expected], pity)


def test_a_won_share_gives_a_featured_item_and_no_guarantee() -> None:
    (drawn,), after = draw(RATE_UP, ITEMS, Pity(), 1, Script(0, 499_999))
    assert (drawn.item.id, drawn.featured, drawn.featured_guaranteed) == (301, True, False)
    assert not after.ultra_rare_guaranteed


@pytest.mark.parametrize(("pick", "item_id"), [(0, 302), (1, 303), (2, 304)])
def test_a_lost_share_gives_another_item_and_the_guarantee(pick: int, item_id: int) -> None:
    (drawn,), after = draw(RATE_UP, ITEMS, Pity(), 1, Script(0, 500_000, pick))
    assert (drawn.item.id, drawn.featured) == (item_id, False)
    assert after.ultra_rare_guaranteed


def test_a_guarantee_is_spent_without_a_roll() -> None:
    source = Script(0)
    (drawn,), after = draw(RATE_UP, ITEMS, Pity(ultra_rare_guaranteed=True), 1, source)
    assert (drawn.item.id, drawn.featured_guaranteed) == (301, True)
    assert after == Pity()
    assert source.is_spent


def test_a_guarantee_waits_on_a_banner_that_features_nothing() -> None:
    (drawn,), after = draw(FLAT, ITEMS, Pity(ultra_rare_guaranteed=True), 1, Script(0, 0))
    assert (drawn.featured, drawn.featured_guaranteed) == (False, False)
    assert after.ultra_rare_guaranteed


def test_a_guarantee_of_another_rarity_is_left_alone() -> None:
    pity = Pity(super_rare_guaranteed=True, rare_guaranteed=True)
    _, after = draw(RATE_UP, ITEMS, pity, 1, Script(0, 500_000, 0))
    assert after == Pity(0, 0, True, True, True)


def test_a_pool_of_featured_items_alone_always_gives_them() -> None:
    banner = banner_of(
        rule(UR, 6_000, featured=(301, 302), share_ppm=1, item_ids=(301,)), rule(SR, 51_000)
    )
    (drawn,), after = draw(banner, ITEMS, Pity(), 1, Script(0, 1))
    assert (drawn.item.id, drawn.featured) == (302, True)
    assert not after.ultra_rare_guaranteed


NINE_RARES = (SURELY_RARE, 0) * 9


@pytest.mark.parametrize(
    ("roll", "expected"),
    [
        pytest.param(9_999, UR, id="1 of 10 parts is the higher"),
        pytest.param(10_000, SR, id="the other 9 are the promised one, first"),
        pytest.param(99_999, SR, id="the other 9 are the promised one, last"),
        pytest.param(100_000, UR, id="rolls are taken below the two rates together"),
    ],
)
def test_the_tenth_keeps_the_proportions_of_what_is_promised(roll: int, expected: Rarity) -> None:
    drawn, _ = draw(BEGINNER, ITEMS, Pity(), 10, Script(*NINE_RARES, roll, 0))
    assert [item.item.rarity for item in drawn] == [R] * 9 + [expected]
    assert [item.ten_pull_guaranteed for item in drawn] == [False] * 9 + [True]


@pytest.mark.parametrize(
    ("roll", "expected"),
    [
        pytest.param(29_999, UR, id="the higher has its 3 %"),
        pytest.param(30_000, SR, id="the promised one has its own share"),
        pytest.param(999_999, SR, id="and the whole rest"),
    ],
)
def test_the_tenth_keeps_the_rate_of_what_is_above_the_promise(roll: int, expected: Rarity) -> None:
    drawn, _ = draw(KEEPS_TOP_RATE, ITEMS, Pity(), 10, Script(*NINE_RARES, roll, 0))
    assert [item.item.rarity for item in drawn] == [R] * 9 + [expected]


def test_the_tenth_is_like_any_other_when_the_promise_is_kept_already() -> None:
    rolls = (20_000, 0) + (SURELY_RARE, 0) * 9
    drawn, _ = draw(BEGINNER, ITEMS, Pity(), 10, Script(*rolls))
    assert [item.item.rarity for item in drawn] == [SR] + [R] * 9
    assert not any(item.ten_pull_guaranteed for item in drawn)


def test_single_pulls_have_no_promise() -> None:
    pity = Pity()
    for _ in range(10):
        (drawn,), pity = draw(BEGINNER, ITEMS, pity, 1, Script(SURELY_RARE, 0))
        assert drawn.item.rarity is R


def test_a_promise_holds_where_only_pity_gives_the_rarity() -> None:
    banner = banner_of(rule(UR, 0, hard=50), rule(SR, 0, hard=40), guarantee=SR)
    drawn, after = draw(banner, ITEMS, Pity(), 10, Script(*NINE_RARES, 0))
    assert drawn[9].item.rarity is SR
    assert (after.since_ultra_rare, after.since_super_rare) == (10, 0)


@given(banners(), pities())
def test_rates_always_add_up_to_certainty(banner: Banner, pity: Pity) -> None:
    weights = rarity_weights(banner, pity.since_ultra_rare + 1, pity.since_super_rare + 1)
    assert sum(weights) == CERTAIN_PPM
    assert min(weights) >= 0


@given(banners(), st.integers(1, 60))
def test_a_rate_never_falls_while_pity_grows(banner: Banner, pull: int) -> None:
    for each in banner.rules:
        assert effective_rate_ppm(each, pull) <= effective_rate_ppm(each, pull + 1)


@given(banners(), pities(), st.integers(), st.lists(st.sampled_from((1, 10)), max_size=8))
def test_pity_and_promises_hold_for_any_roll(
    banner: Banner, pity: Pity, seed: int, counts: list[int]
) -> None:
    source = random.Random(seed).randbytes
    for count in counts:
        before = pity
        drawn, pity = draw(banner, ITEMS, before, count, source)
        rarities = [each.item.rarity for each in drawn]
        assert len(drawn) == count
        assert (pity.since_ultra_rare, pity.since_super_rare) == counts_after(rarities, before)
        for position, each in enumerate(drawn):
            expected, since = counts_after(rarities[:position], before)
            assert each.pity == expected + 1
            assert_hard_pity(banner, each.item.rarity, each.pity, since + 1)
            assert each.item.id in (
                banner.rule(each.item.rarity).featured_ids
                if each.featured
                else banner.rule(each.item.rarity).standard_ids
            )
        if count == 10 and banner.ten_pull_guarantee:
            assert any(rarity.rank >= banner.ten_pull_guarantee.rank for rarity in rarities)


def assert_hard_pity(banner: Banner, drawn: Rarity, ultra_pull: int, super_pull: int) -> None:
    ultra_hard, super_hard = banner.rules[0].hard_pity, banner.rules[1].hard_pity
    if ultra_hard and ultra_pull >= ultra_hard:
        assert drawn is UR
    if super_hard and super_pull >= super_hard:
        assert drawn is not R


@given(banners(), pities(), st.integers())
def test_after_another_item_the_next_of_its_rarity_is_featured(
    banner: Banner, pity: Pity, seed: int
) -> None:
    source = random.Random(seed).randbytes
    owed = {rarity: pity.is_guaranteed(rarity) for rarity in Rarity}
    for _ in range(100):
        (drawn,), pity = draw(banner, ITEMS, pity, 1, source)
        rarity = drawn.item.rarity
        if banner.rule(rarity).featured:
            assert drawn.featured or not owed[rarity]
            assert drawn.featured_guaranteed is owed[rarity]
            owed[rarity] = not drawn.featured
        assert owed == {each: pity.is_guaranteed(each) for each in Rarity}
