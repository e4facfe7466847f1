"""A gift's calls to the account service: it finds the players, and takes the fee."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from gacha_svc.domain.gifts import FeeRefused, Gift, Parties, Player
from mesh.calling.shared_calls import SharedCalls
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from protos.account.v1 import gift_fees_pb2 as pb

_SERVICE = "/account.v1.GiftFeeService"
_FINAL_REFUSALS = frozenset(
    {"INSUFFICIENT_CURRENCY", "WALLET_IN_DEBT", "USER_NOT_FOUND", "GIFT_FEE_REFUNDED"}
)
"""The reasons that the account service stores for a fee: a retry returns the same one."""


@dataclass(frozen=True, slots=True)
class _Search:
    """Who is looked for, and the fee that the sender would pay."""

    to: str
    sender_id: str
    fee_gems: int


class RemoteGiftFees:
    """Calls any instance of the account service. Gifts that come at the same time share calls."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        """`metadata` identifies the caller."""
        self._caller = caller
        self._metadata = metadata
        self._searches = SharedCalls(self._find_all)
        self._charges = SharedCalls(self._charge_free)

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        """The player named `to`, in any case, and the one with the sender's id."""
        return await self._searches.run(_Search(to, sender_id, fee_gems), deadline)

    async def charge(self, gift: Gift, deadline: Deadline) -> None:
        """Takes the fee from the sender's wallet. Idempotent by the gift's id.

        Raises FeeRefused: the fee was not taken and never will be. After any other MeshError
        the outcome is unknown.
        """
        if not await self._charges.run(gift, deadline):
            await self._charge_alone(gift, deadline)

    async def _find_all(self, searches: Sequence[_Search], deadline: Deadline) -> Sequence[Parties]:
        request = pb.FindPlayersRequest(
            usernames={each.to.lower() for each in searches},
            user_ids={each.sender_id for each in searches},
            # All are equal: the fee is a setting.
            fee=searches[0].fee_gems,
        )
        answer = await self._call("FindPlayers", request, deadline)
        found = pb.FindPlayersResponse.FromString(answer).players
        by_name = {each.username.lower(): each for each in found}
        by_id = {each.user_id: each for each in found}
        return [
            _parties(by_id.get(each.sender_id), by_name.get(each.to.lower())) for each in searches
        ]

    async def _charge_free(self, gifts: Sequence[Gift], deadline: Deadline) -> Sequence[bool]:
        """Whether each fee is taken."""
        request = pb.ChargeGiftFeesRequest(fees=[_charge_of(gift) for gift in gifts])
        answer = await self._call("ChargeGiftFees", request, deadline)
        return pb.ChargeGiftFeesResponse.FromString(answer).taken

    async def _charge_alone(self, gift: Gift, deadline: Deadline) -> None:
        """Waits for the wallet, and gives the reason of a refusal."""
        try:
            await self._call("ChargeGiftFee", _charge_of(gift), deadline)
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
        await self._call("RefundGiftFee", request, deadline)

    async def _call(self, method: str, request: Message, deadline: Deadline) -> bytes:
        return await self._caller.call(
            f"{_SERVICE}/{method}", request.SerializeToString(), self._metadata(), deadline
        )


def _charge_of(gift: Gift) -> pb.ChargeGiftFeeRequest:
    return pb.ChargeGiftFeeRequest(
        fee_id=gift.gift_id, user_id=gift.sender.user_id, amount=gift.fee_gems
    )


def _parties(sender: pb.PlayerName | None, receiver: pb.PlayerName | None) -> Parties:
    return Parties(
        sender=_player(sender),
        receiver=_player(receiver),
        fee_refusal="" if sender is None else sender.fee_refusal,
        sender_balance_gems=0 if sender is None else sender.balance,
    )


def _player(found: pb.PlayerName | None) -> Player | None:
    return None if found is None else Player(found.user_id, found.username)
