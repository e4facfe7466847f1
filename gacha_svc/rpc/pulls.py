"""gacha.v1.GachaService: proto to domain and back."""

from gacha_svc.domain.pulls import BannerPity, PullRecord
from gacha_svc.use_cases.pulls import Pulls
from mesh.serving.dispatch import Call
from protos.gacha.v1 import gacha_pb2 as pb


class GachaRpc:
    """A player's pulls, inventory and history."""

    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls

    async def pull(self, request: pb.PullRequest, call: Call) -> pb.PullResponse:
        count = request.count if request.HasField("count") else 1
        items = await self._pulls.pull(
            call.user_id, request.banner_id, count, request.idempotency_key, call.deadline
        )
        response = pb.PullResponse()
        add = response.pulled_items.add
        for item in items:
            add(item_id=item.item_id, name=item.name, rarity=item.rarity)
        return response

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

    async def get_pity(self, request: pb.GetPityRequest, call: Call) -> pb.GetPityResponse:
        pities = await self._pulls.pity(call.user_id, request.banner_id)
        return pb.GetPityResponse(banners=[_pity(each) for each in pities])

    async def list_pulls(self, request: pb.ListPullsRequest, call: Call) -> pb.ListPullsResponse:
        pulls, next_page_token = await self._pulls.history(
            call.user_id, request.page_size, request.page_token
        )
        return pb.ListPullsResponse(
            pulls=[_record(pull) for pull in pulls], next_page_token=next_page_token
        )


def _pity(of_banner: BannerPity) -> pb.BannerPity:
    return pb.BannerPity(
        banner_id=of_banner.banner.id,
        kind=of_banner.banner.kind,
        odds_version=of_banner.odds_version,
        since_ultra_rare=of_banner.pity.since_ultra_rare,
        since_super_rare=of_banner.pity.since_super_rare,
        next_pull=[
            pb.RarityAhead(
                rarity=ahead.rarity,
                rate=ahead.rate_percent,
                featured_rate=ahead.featured_rate_percent,
                featured_guaranteed=ahead.is_featured_guaranteed,
                pulls_to_hard_pity=ahead.pulls_to_hard_pity,
            )
            for ahead in of_banner.next_pull
        ],
    )


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
            featured_guaranteed=drawn.featured_guaranteed,
            ten_pull_guaranteed=drawn.ten_pull_guaranteed,
        )
    return written
