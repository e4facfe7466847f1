"""A banner's expected pulls and gems are for pulls that it offers."""

import math
import random
from typing import Any

import pytest

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.draw import draw
from gacha_svc.domain.odds.published import disclose
from gacha_svc.domain.pity import Pity
from gacha_svc.rpc.catalog import CatalogRpc
from gacha_svc.use_cases.catalog import PublishedBanner, PublishedOdds
from protos.gacha.v1 import catalog_pb2 as pb
from tests.unit.gacha.catalogs import ITEMS, RATE_UP, UR

CALL: Any = None
"""What the method does not look at."""
TENS_ALONE = RATE_UP.model_copy(update={"pull_counts": (10,), "ten_pull_guarantee": UR})
BOTH = RATE_UP.model_copy(update={"pull_counts": (1, 10), "ten_pull_guarantee": UR})


class OneBanner:
    """The catalog of one banner."""

    def __init__(self, banner: Banner) -> None:
        odds = PublishedOdds("v1", banner, disclose(banner), ITEMS)
        self._published = PublishedBanner(banner, odds)

    async def banner(self, banner_id: str) -> PublishedBanner:
        return self._published


async def shown(banner: Banner) -> pb.Banner:
    catalogs: Any = OneBanner(banner)
    return await CatalogRpc(catalogs).get_banner(pb.GetBannerRequest(banner_id="test"), CALL)


async def test_a_banner_of_ten_pulls_alone_has_the_figures_of_ten_pulls() -> None:
    banner = await shown(TENS_ALONE)
    source, pity, ten_pull_count = random.Random(15).randbytes, Pity(), 3_000
    ultra_rares = featured = 0
    for _ in range(ten_pull_count):
        drawn, pity = draw(TENS_ALONE, ITEMS, pity, 10, source)
        ultra_rares += sum(each.item.rarity is UR for each in drawn)
        featured += sum(each.featured for each in drawn)
    pulls = 10 * ten_pull_count
    near = 5 / math.sqrt(featured)
    assert banner.expected_pulls_featured == pytest.approx(pulls / featured, rel=near)
    assert banner.odds[0].expected_pulls == pytest.approx(pulls / ultra_rares, rel=near)
    assert banner.expected_gems_featured == pytest.approx(160 * banner.expected_pulls_featured)


async def test_a_banner_of_ten_pulls_alone_gives_one_figure_for_one_thing() -> None:
    banner = await shown(TENS_ALONE)
    assert 14 < banner.expected_pulls_featured < 15
    for odds, of_tens in zip(banner.odds, banner.ten_pull_odds, strict=True):
        assert odds.consolidated_rate == of_tens.consolidated_rate
        assert odds.expected_pulls == of_tens.expected_pulls
        assert of_tens.expected_pulls * of_tens.consolidated_rate == pytest.approx(100)


async def test_a_banner_with_single_pulls_has_their_figures_beside_those_of_tens() -> None:
    banner = await shown(BOTH)
    assert banner.expected_pulls_featured == pytest.approx(93.446, abs=5e-4)
    assert banner.odds[0].expected_pulls == pytest.approx(62.297, abs=5e-4)
    assert banner.ten_pull_odds[0].expected_pulls < 10
