"""gacha.v1.CatalogService: proto to domain and back."""

from collections.abc import Mapping

from gacha_svc.domain.banners import Item
from gacha_svc.domain.odds.published import RarityOdds, TenPullOdds
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.terms import Terms
from gacha_svc.use_cases.catalog import Catalogs, PublishedBanner, PublishedOdds
from mesh.serving.dispatch import Call
from protos.gacha.v1 import catalog_pb2 as pb


class CatalogRpc:
    """Puts the catalog in force, and discloses it."""

    def __init__(self, catalogs: Catalogs) -> None:
        self._catalogs = catalogs

    async def init_db(self, request: pb.InitDbRequest, call: Call) -> pb.InitDbResponse:
        catalog = await self._catalogs.introduce()
        return pb.InitDbResponse(
            message="Items and banners are in the database",
            item_count=len(catalog.items),
            banner_count=len(catalog.banners),
        )

    async def list_items(self, request: pb.ListItemsRequest, call: Call) -> pb.ListItemsResponse:
        items = await self._catalogs.items()
        return pb.ListItemsResponse(
            items=[pb.Item(id=str(item.id), name=item.name, rarity=item.rarity) for item in items]
        )

    async def get_chances(self, request: pb.GetChancesRequest, call: Call) -> pb.GetChancesResponse:
        percent = await self._catalogs.chances_percent(request.banner_id)
        return pb.GetChancesResponse(
            chances=pb.Chances(
                rare=percent[Rarity.RARE],
                super_rare=percent[Rarity.SUPER_RARE],
                ultra_rare=percent[Rarity.ULTRA_RARE],
            )
        )

    async def list_banners(
        self, request: pb.ListBannersRequest, call: Call
    ) -> pb.ListBannersResponse:
        banners = await self._catalogs.banners()
        return pb.ListBannersResponse(banners=[_banner(published) for published in banners])

    async def get_banner(self, request: pb.GetBannerRequest, call: Call) -> pb.Banner:
        return _banner(await self._catalogs.banner(request.banner_id))

    async def get_odds(self, request: pb.GetOddsRequest, call: Call) -> pb.Odds:
        published = await self._catalogs.odds(request.odds_version)
        terms = published.terms
        return pb.Odds(
            odds_version=published.odds_version,
            kind=terms.kind,
            odds=_odds(published),
            ten_pull_guarantee=terms.ten_pull_guarantee or "",
            guarantee_mode=_guarantee_mode(terms),
            ten_pull_odds=_ten_pull_odds(published),
            expected_pulls_featured=published.disclosure.expected_pulls_featured,
        )

    async def list_banner_history(
        self, request: pb.ListBannerHistoryRequest, call: Call
    ) -> pb.ListBannerHistoryResponse:
        periods, next_page_token = await self._catalogs.history(
            request.banner_id, request.page_size, request.page_token
        )
        response = pb.ListBannerHistoryResponse(next_page_token=next_page_token)
        for period in periods:
            written = response.periods.add(odds_version=period.odds_version)
            written.since.FromDatetime(period.since)
            if period.until is not None:
                written.until.FromDatetime(period.until)
        return response


def _banner(published: PublishedBanner) -> pb.Banner:
    banner = published.banner
    disclosure = published.odds.disclosure
    in_tens = 1 not in banner.pull_counts
    expected_pulls = (
        disclosure.expected_pulls_featured_in_tens
        if in_tens
        else disclosure.expected_pulls_featured
    )
    return pb.Banner(
        id=banner.id,
        name=banner.name,
        description=banner.description,
        kind=banner.kind,
        price=banner.price_gems,
        pull_counts=banner.pull_counts,
        pull_limit=banner.pull_limit,
        odds_version=published.odds.odds_version,
        odds=_odds(published.odds, in_tens=in_tens),
        ten_pull_guarantee=banner.ten_pull_guarantee or "",
        guarantee_mode=_guarantee_mode(banner),
        ten_pull_odds=_ten_pull_odds(published.odds) if 10 in banner.pull_counts else [],
        expected_pulls_featured=expected_pulls,
        expected_gems_featured=expected_pulls * banner.price_gems,
    )


def _guarantee_mode(terms: Terms) -> str:
    return terms.guarantee_mode if terms.ten_pull_guarantee else ""


def _ten_pull_odds(published: PublishedOdds) -> list[pb.TenPullOdds]:
    return [
        pb.TenPullOdds(
            rarity=odds.rarity,
            fresh_rate=odds.fresh_rate_percent,
            consolidated_rate=odds.consolidated_rate_percent,
            expected_pulls=odds.expected_pulls,
        )
        for odds in published.disclosure.ten_pulls
    ]


def _odds(published: PublishedOdds, *, in_tens: bool = False) -> list[pb.RarityOdds]:
    """With the long run of single pulls, or of ten-pulls."""
    disclosure = published.disclosure
    return [
        _rarity_odds(odds, of_tens if in_tens else odds, published.items_by_id)
        for odds, of_tens in zip(disclosure.rarities, disclosure.ten_pulls, strict=True)
    ]


def _rarity_odds(
    odds: RarityOdds, long_run: RarityOdds | TenPullOdds, items_by_id: Mapping[int, Item]
) -> pb.RarityOdds:
    return pb.RarityOdds(
        rarity=odds.rarity,
        base_rate=odds.base_rate_percent,
        soft_pity_from=odds.soft_pity_from,
        soft_pity_step=odds.soft_pity_step_percent,
        hard_pity=odds.hard_pity,
        consolidated_rate=long_run.consolidated_rate_percent,
        expected_pulls=long_run.expected_pulls,
        featured_share=odds.featured_share_percent,
        items=[
            pb.ItemOdds(
                item_id=item.item_id,
                name=items_by_id[item.item_id].name,
                featured=item.featured,
                base_rate=item.base_rate_percent,
            )
            for item in odds.items
        ],
    )
