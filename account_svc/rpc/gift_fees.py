"""account.v1.GiftFeeService: proto to domain and back."""

from account_svc.domain.debits import INSUFFICIENT_CURRENCY
from account_svc.domain.gift_fees import GiftFee, Payer, check_asked_fee
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
        return pb.FindPlayersResponse(players=[_name(player, request.fee) for player in players])

    async def charge_gift_fees(
        self, request: pb.ChargeGiftFeesRequest, call: Call
    ) -> pb.ChargeGiftFeesResponse:
        taken = await self._fees.charge_free([_fee(each) for each in request.fees])
        return pb.ChargeGiftFeesResponse(taken=taken)

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


def _name(player: Payer, fee_gems: int) -> pb.PlayerName:
    refusal = player.refusal_of(fee_gems)
    return pb.PlayerName(
        user_id=player.user_id,
        username=player.username,
        fee_refusal=refusal,
        balance=player.balance_gems if refusal == INSUFFICIENT_CURRENCY else 0,
    )


def _fee(request: pb.ChargeGiftFeeRequest | pb.RefundGiftFeeRequest) -> GiftFee:
    """Raises InvalidArgument."""
    return GiftFee(
        checked_uuid("fee_id", request.fee_id),
        checked_uuid("user_id", request.user_id),
        request.amount,
    )
