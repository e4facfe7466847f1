"""The next pull's rates are those of the draw, whatever the pity."""

import pytest
from hypothesis import given

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.draw import draw
from gacha_svc.domain.odds.next_pull import next_pull
from gacha_svc.domain.pity import Pity
from tests.unit.gacha.catalogs import ITEMS, RATE_UP, SR, UR, R, Script, banners, pities


def test_a_player_without_pulls_has_the_base_rates() -> None:
    ultra_rare, super_rare, rare = next_pull(RATE_UP, Pity())
    assert [each.rarity for each in (ultra_rare, super_rare, rare)] == [UR, SR, R]
    assert [each.rate_percent for each in (ultra_rare, super_rare, rare)] == [0.6, 5.1, 94.3]
    assert [each.featured_rate_percent for each in (ultra_rare, super_rare)] == [0.3, 0]
    assert [each.pulls_to_hard_pity for each in (ultra_rare, super_rare, rare)] == [90, 10, 0]
    assert not ultra_rare.is_featured_guaranteed


@pytest.mark.parametrize(
    ("pity", "rates", "featured", "to_hard_pity"),
    [
        pytest.param(Pity(72), [0.6, 5.1, 94.3], 0.3, 18, id="pull 73 has the base rate"),
        pytest.param(Pity(73), [6.6, 5.1, 88.3], 3.3, 17, id="pull 74 has 6.6 %"),
        pytest.param(Pity(88), [96.6, 3.4, 0], 48.3, 2, id="pull 89 leaves 3.4 %"),
        pytest.param(Pity(89), [100, 0, 0], 50, 1, id="pull 90 is certain"),
        pytest.param(Pity(200), [100, 0, 0], 50, 1, id="beyond the end"),
        pytest.param(Pity(9, 9), [0.6, 99.4, 0], 0.3, 81, id="a super rare is certain"),
        pytest.param(Pity(73, 0, True), [6.6, 5.1, 88.3], 6.6, 17, id="with the guarantee"),
    ],
)
def test_pity_and_guarantee_count(
    pity: Pity, rates: list[float], featured: float, to_hard_pity: int
) -> None:
    ahead = next_pull(RATE_UP, pity)
    assert [each.rate_percent for each in ahead] == pytest.approx(rates)
    assert ahead[0].featured_rate_percent == pytest.approx(featured)
    assert ahead[0].pulls_to_hard_pity == to_hard_pity
    assert ahead[0].is_featured_guaranteed is pity.ultra_rare_guaranteed


@given(banners(), pities())
def test_the_rates_are_those_at_which_the_draw_changes_its_rarity(
    banner: Banner, pity: Pity
) -> None:
    ahead = next_pull(banner, pity)
    assert sum(each.rate_percent for each in ahead) == pytest.approx(100)
    begin = 0
    for each in ahead:
        end = begin + round(each.rate_percent * 10_000)
        if end > begin:
            for roll in (begin, end - 1):
                (drawn,), _ = draw(banner, ITEMS, pity, 1, Script(roll, 0, 0))
                assert drawn.item.rarity is each.rarity
        assert 0 <= each.featured_rate_percent <= each.rate_percent + 1e-9
        begin = end
