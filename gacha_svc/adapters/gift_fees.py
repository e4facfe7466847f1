"""A gift's calls to the account service: it finds the players, and takes the fee."""

from collections.abc import Callable

from gacha_svc.domain.gifts import FeeRefused, Gift, Parties, Player
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from protos.account.v1 import gift_fees_pb2 as pb

_SERVICE = "/account.v1.GiftFeeService"
_FINAL_REFUSALS = frozenset(
    {"INSUFFICIENT_CURRENCY", "WALLET_IN_DEBT", "USER_NOT_FOUND", "GIFT_FEE_REFUNDED"}
)
"""The reasons that the account service stores for a fee: a retry returns the same one."""


class RemoteGiftFees:
    """Calls any instance of the account service."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        """`metadata` identifies the caller."""
        self._caller = caller
        self._metadata = metadata

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        """The player named `to`, in any case, and the one with the sender's id."""
        request = pb.FindPlayersRequest(usernames=[to], user_ids=[sender_id], fee=fee_gems)
        answer = await self._caller.call(
            f"{_SERVICE}/FindPlayers", request.SerializeToString(), self._metadata(), deadline
        )
        found = pb.FindPlayersResponse.FromString(answer).players
        named = (each for each in found if each.username.lower() == to.lower())
        known = next((each for each in found if each.user_id == sender_id), None)
        return Parties(
            sender=_player(known),
            receiver=_player(next(named, None)),
            fee_refusal="" if known is None else known.fee_refusal,
            sender_balance_gems=0 if known is None else known.balance,
        )

    async def charge(self, gift: Gift, deadline: Deadline) -> None:
        """Takes the fee from the sender's wallet. Idempotent by the gift's id.

        Raises FeeRefused: the fee was not taken and never will be. After any other MeshError
        the outcome is unknown.
        """
        request = pb.ChargeGiftFeeRequest(
            fee_id=gift.gift_id, user_id=gift.sender.user_id, amount=gift.fee_gems
        )
        try:
            await self._caller.call(
                f"{_SERVICE}/ChargeGiftFee", request.SerializeToString(), self._metadata(), deadline
            )
        except MeshError as error:
            if error.reason in _FINAL_REFUSALS:
                raise FeeRefused(error.reason) from error
            raise

    async def refund(self, gift: Gift, deadline: Deadline) -> None:
        """Refunds the fee if it was taken, and ensures that it is never taken later. Idempotent
        by the gift's id. After a MeshError the outcome is unknown."""
        request = pb.RefundGiftFeeRequest(
            fee_id=gift.gift_id, user_id=gift.sender.user_id, amount=gift.fee_gems
        )
        await self._caller.call(
            f"{_SERVICE}/RefundGiftFee", request.SerializeToString(), self._metadata(), deadline
        )


def _player(found: pb.PlayerName | None) -> Player | None:
    return None if found is None else Player(found.user_id, found.username)
