"""gacha.v1.GiftService."""

from gacha_svc.domain.gifts import GiftRecord
from gacha_svc.use_cases.gifts import Gifts
from mesh.contract.identifiers import checked_uuid
from mesh.serving.dispatch import Call
from protos.gacha.v1 import gifts_pb2 as pb


class GiftRpc:
    """A player's gifts."""

    def __init__(self, gifts: Gifts) -> None:
        self._gifts = gifts

    async def send_gift(self, request: pb.SendGiftRequest, call: Call) -> pb.Gift:
        count = request.count if request.HasField("count") else 1
        gift = await self._gifts.send(
            call.user_id, request.item_id, request.to, count, request.idempotency_key, call.deadline
        )
        return gift_message(gift)

    async def get_gift(self, request: pb.GetGiftRequest, call: Call) -> pb.Gift:
        gift_id = checked_uuid("gift_id", request.gift_id)
        return gift_message(await self._gifts.find(call.user_id, gift_id))

    async def list_gifts(self, request: pb.ListGiftsRequest, call: Call) -> pb.ListGiftsResponse:
        gifts, next_page_token = await self._gifts.history(
            call.user_id, request.page_size, request.page_token
        )
        return pb.ListGiftsResponse(
            gifts=[gift_message(gift) for gift in gifts], next_page_token=next_page_token
        )


def gift_message(record: GiftRecord) -> pb.Gift:
    """The answer about a gift. It is the same for every repeat once the gift has ended."""
    gift = record.gift
    written = pb.Gift(
        gift_id=gift.gift_id,
        state=record.state,
        reason=record.reason,
        sender=gift.sender.username,
        to=gift.receiver.username,
        item_id=gift.item_id,
        name=record.item.name,
        rarity=record.item.rarity,
        count=gift.count,
        fee=gift.fee_gems,
    )
    written.created_at.FromDatetime(record.created_at)
    return written
