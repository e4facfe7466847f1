"""account.v1.GiftFeeService: proto to domain and back."""

from account_svc.domain.gift_fees import GiftFee, check_asked_fee
from account_svc.use_cases.gift_fees import GiftFees
from mesh.contract.identifiers import checked_uuid
from mesh.serving.dispatch import Call
from protos.account.v1 import gift_fees_pb2 as pb


class GiftFeeRpc:
    """The gacha service's calls when a player sends a gift."""

    def __init__(self, fees: GiftFees) -> None:
        self._fees = fees

    async def find_players(
        self, request: pb.FindPlayersRequest, call: Call
    ) -> pb.FindPlayersResponse:
        check_asked_fee(request.fee)
        user_ids = [checked_uuid("user_ids", user_id) for user_id in request.user_ids]
        players = await self._fees.find_players(request.usernames, user_ids)
        return pb.FindPlayersResponse(
            players=[
                pb.PlayerName(
                    user_id=player.user_id,
                    username=player.username,
                    fee_refusal=player.refusal_of(request.fee),
                )
                for player in players
            ]
        )

    async def charge_gift_fee(
        self, request: pb.ChargeGiftFeeRequest, call: Call
    ) -> pb.ChargeGiftFeeResponse:
        balance_gems = await self._fees.charge(_fee(request), call.deadline)
        return pb.ChargeGiftFeeResponse(balance_after=balance_gems)

    async def refund_gift_fee(
        self, request: pb.RefundGiftFeeRequest, call: Call
    ) -> pb.RefundGiftFeeResponse:
        await self._fees.refund(_fee(request), call.deadline)
        return pb.RefundGiftFeeResponse()


def _fee(request: pb.ChargeGiftFeeRequest | pb.RefundGiftFeeRequest) -> GiftFee:
    """Raises InvalidArgument."""
    return GiftFee(
        checked_uuid("fee_id", request.fee_id),
        checked_uuid("user_id", request.user_id),
        request.amount,
    )
