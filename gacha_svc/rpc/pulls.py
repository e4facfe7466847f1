"""gacha.v1 and its part in tx.v1: proto to domain and back."""

from collections.abc import Iterable

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.odds import RarityOdds
from gacha_svc.domain.pulls import Draw, PulledItem, PullRecord
from gacha_svc.domain.rarities import Rarity
from gacha_svc.use_cases.catalog import CatalogDesk
from gacha_svc.use_cases.pulls import Pulls
from mesh.contract.identifiers import checked_uuid
from mesh.errors import InvalidArgument
from mesh.serving.dispatch import Call
from protos.gacha.v1 import gacha_pb2 as pb


class GachaRpc:
    """gacha.v1.GachaService."""

    def __init__(self, desk: CatalogDesk, pulls: Pulls) -> None:
        self._desk = desk
        self._pulls = pulls

    async def init_db(self, request: pb.InitDbRequest, call: Call) -> pb.InitDbResponse:
        catalog = await self._desk.introduce()
        return pb.InitDbResponse(
            message="Items and banners are in the database",
            item_count=len(catalog.items),
            banner_count=len(catalog.banners),
        )

    async def list_items(self, request: pb.ListItemsRequest, call: Call) -> pb.ListItemsResponse:
        items = await self._desk.items()
        return pb.ListItemsResponse(
            items=[pb.Item(id=str(item.id), name=item.name, rarity=item.rarity) for item in items]
        )

    async def get_chances(self, request: pb.GetChancesRequest, call: Call) -> pb.GetChancesResponse:
        percent = await self._desk.chances_percent(request.banner_id)
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
        banners = await self._desk.banners()
        return pb.ListBannersResponse(
            banners=[_banner(banner, await self._desk.odds(banner)) for banner in banners]
        )

    async def get_banner(self, request: pb.GetBannerRequest, call: Call) -> pb.Banner:
        banner = await self._desk.banner(request.banner_id)
        return _banner(banner, await self._desk.odds(banner))

    async def pull(self, request: pb.PullRequest, call: Call) -> pb.PullResponse:
        count = request.count if request.HasField("count") else 1
        items = await self._pulls.pull(
            call.user_id, request.banner_id, count, request.idempotency_key, call.deadline
        )
        return pb.PullResponse(pulled_items=_items(items))

    async def get_inventory(
        self, request: pb.GetInventoryRequest, call: Call
    ) -> pb.GetInventoryResponse:
        holdings, next_page_token = await self._pulls.inventory(
            call.user_id, request.page_size, request.page_token
        )
        response = pb.GetInventoryResponse(next_page_token=next_page_token)
        for holding in holdings:
            item = holding.item
            response.items.add(
                item_id=item.id, name=item.name, rarity=item.rarity, count=holding.count
            )
        return response

    async def list_pulls(self, request: pb.ListPullsRequest, call: Call) -> pb.ListPullsResponse:
        pulls, next_page_token = await self._pulls.history(
            call.user_id, request.page_size, request.page_token
        )
        return pb.ListPullsResponse(
            pulls=[_record(pull) for pull in pulls], next_page_token=next_page_token
        )


def decode_draw(body: AnyMessage) -> Draw:
    """The body of an operation of this participant. Raises InvalidArgument."""
    draw = pb.Draw()
    if not body.Unpack(draw):
        raise InvalidArgument.of_field("operations", "must hold gacha.v1.Draw")
    if draw.count not in (1, 10) or draw.cost < 1:
        raise InvalidArgument.of_field("operations", "must draw 1 or 10 at a cost of at least 1")
    user_id = checked_uuid("user_id", draw.user_id)
    return Draw(user_id, draw.banner_id, draw.count, draw.cost, draw.odds_version)


def encode_items(items: tuple[PulledItem, ...]) -> Message:
    """What a YES tells."""
    return pb.DrawResult(items=_items(items))


def _items(items: Iterable[PulledItem]) -> list[pb.PulledItem]:
    return [
        pb.PulledItem(item_id=item.item_id, name=item.name, rarity=item.rarity) for item in items
    ]


def _record(pull: PullRecord) -> pb.PullRecord:
    written = pb.PullRecord(
        pull_id=pull.pull_id,
        banner_id=pull.draw.banner_id,
        cost=pull.draw.cost_gems,
        odds_version=pull.draw.odds_version,
    )
    written.created_at.FromDatetime(pull.created_at)
    for drawn in pull.items:
        written.items.add(
            item_id=drawn.item.id,
            name=drawn.item.name,
            rarity=drawn.item.rarity,
            featured=drawn.featured,
            pity=drawn.pity,
        )
    return written


def _banner(banner: Banner, odds: Iterable[RarityOdds]) -> pb.Banner:
    return pb.Banner(
        id=banner.id,
        name=banner.name,
        description=banner.description,
        kind=banner.kind,
        price=banner.price_gems,
        pull_counts=banner.pull_counts,
        pull_limit=banner.pull_limit,
        odds_version=banner.odds_version,
        odds=[_rarity_odds(rarity) for rarity in odds],
        ten_pull_guarantee=banner.ten_pull_guarantee or "",
    )


def _rarity_odds(odds: RarityOdds) -> pb.RarityOdds:
    return pb.RarityOdds(
        rarity=odds.rarity,
        base_rate=odds.base_rate_percent,
        soft_pity_from=odds.soft_pity_from,
        soft_pity_step=odds.soft_pity_step_percent,
        hard_pity=odds.hard_pity,
        consolidated_rate=odds.consolidated_rate_percent,
        expected_pulls=odds.expected_pulls,
        featured_share=odds.featured_share_percent,
        items=[
            pb.ItemOdds(
                item_id=item.item_id,
                name=item.name,
                featured=item.featured,
                base_rate=item.base_rate_percent,
            )
            for item in odds.items
        ],
    )
