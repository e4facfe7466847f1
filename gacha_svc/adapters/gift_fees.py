"""A gift's calls to the account service: it finds the players, and takes the fee."""

from collections.abc import Callable

from gacha_svc.domain.gifts import FeeRefused, Gift, Player
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
        self, username: str, user_id: str, deadline: Deadline
    ) -> tuple[Player | None, Player | None]:
        """The player of that name, in any case, and the player of that id."""
        request = pb.FindPlayersRequest(usernames=[username], user_ids=[user_id])
        answer = await self._caller.call(
            f"{_SERVICE}/FindPlayers", request.SerializeToString(), self._metadata(), deadline
        )
        players = [
            Player(player.user_id, player.username)
            for player in pb.FindPlayersResponse.FromString(answer).players
        ]
        named = (each for each in players if each.username.lower() == username.lower())
        known = (each for each in players if each.user_id == user_id)
        return next(named, None), next(known, None)

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
