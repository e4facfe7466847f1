"""Gifts: their data, their outcomes and their errors. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import Protocol

from gacha_svc.domain.banners import Item
from mesh.deadlines import Deadline
from mesh.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)

GIFT = "gift"
"""The kind of a gift's operation and saga."""
MAX_GIFT_COUNT = 100
MAX_ITEM_ID = 2**31 - 1
_USERNAME = re.compile(r"[A-Za-z0-9_.-]{3,64}")
MAX_HOLDING_COUNT = 2**53 - 1
REFUSALS_WINDOW_SECONDS = 3600.0
PENDING_RETRY_SECONDS = 1.0


class PlayerNotFound(NotFound):
    """No player has this name."""

    REASON = "PLAYER_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such player; check the username.", metadata={"field": "to"})


class ItemNotOwned(FailedPrecondition):
    """The sender owns fewer of the item than the gift has."""

    REASON = "ITEM_NOT_OWNED"

    def __init__(self, held_count: int) -> None:
        super().__init__(
            f"You own {held_count} of this item, fewer than the gift; look at your inventory.",
            metadata={"held_count": str(held_count)},
        )


class GiftToSelf(InvalidArgument):
    """The sender and the receiver are the same player."""

    REASON = "GIFT_TO_SELF"

    def __init__(self) -> None:
        description = "must be another player"
        super().__init__(
            f"to {description}",
            metadata={"field": "to"},
            fields=(FieldViolation("to", description),),
        )


class InventoryFull(FailedPrecondition):
    """The receiver's inventory cannot hold more of the item."""

    REASON = "INVENTORY_FULL"

    def __init__(self) -> None:
        super().__init__("The other player cannot hold more of this item; nothing was taken.")


class FeeRefused(FailedPrecondition):
    """The fee was not taken and never will be; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__("The fee was refused; the gift was not sent.", reason=reason)


class TooManyRefusedGifts(ResourceExhausted):
    """Too many of the sender's gifts were begun and refused lately; this one was not begun."""

    REASON = "TOO_MANY_REFUSED_GIFTS"

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(
            "Too many of your gifts were returned; send the next one in "
            f"{max(1, ceil(wait_seconds))} s.",
            retry_after_seconds=wait_seconds,
        )


class TooManyPendingGifts(ResourceExhausted):
    """The sender has too many gifts under way; this one was not begun."""

    REASON = "TOO_MANY_PENDING_GIFTS"

    def __init__(self) -> None:
        super().__init__(
            "Too many of your gifts are pending; send the next one when some have ended.",
            retry_after_seconds=PENDING_RETRY_SECONDS,
        )


class GiftNotFound(NotFound):
    """No gift of this player has this id."""

    REASON = "GIFT_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such gift among yours; list your gifts.")


class GiftState(StrEnum):
    """A gift as its players see it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    RETURNED = "returned"


class GiftSagaState(StrEnum):
    """The states of a gift's saga; see `gacha_svc.use_cases.gift_saga`."""

    RESERVED = "RESERVED"
    REFUNDING = "REFUNDING"
    DELIVERED = "DELIVERED"
    RETURNED = "RETURNED"


@dataclass(frozen=True, slots=True)
class Player:
    """A player's public identity."""

    user_id: str
    username: str


@dataclass(frozen=True, slots=True)
class Parties:
    """The players of a gift, as far as they exist. `fee_refusal` is the reason why the sender's
    wallet would refuse the fee now; empty if it would pay. `sender_balance_gems` is known if the
    reason is INSUFFICIENT_CURRENCY."""

    sender: Player | None
    receiver: Player | None
    fee_refusal: str
    sender_balance_gems: int = 0


@dataclass(frozen=True, slots=True)
class Gift:
    """A requested gift. `gift_id` is the permanent id of this gift, its fee and its saga; no
    other gift ever has it, also when the key is used again after this one was removed.
    `intent_id` names its sender and key. A key has one gift."""

    gift_id: str
    intent_id: str
    sender: Player
    receiver: Player
    item_id: int
    count: int
    fee_gems: int

    def matches(self, to: str, item_id: int, count: int) -> bool:
        """Whether these are the parameters of the gift's request."""
        requested = (to.lower(), item_id, count)
        return (self.receiver.username.lower(), self.item_id, self.count) == requested


@dataclass(frozen=True, slots=True)
class GiftRecord:
    """A stored gift. `number` grows with every gift of the database; `item` is as it was when the
    gift was sent; `reason` says why it was returned."""

    number: int
    gift: Gift
    item: Item
    state: GiftState
    reason: str
    created_at: datetime

    def is_shown_to(self, user_id: str) -> bool:
        """Whether the player may see it: only the sender sees a gift that did not arrive."""
        is_received = self.state is GiftState.DELIVERED and user_id == self.gift.receiver.user_id
        return user_id == self.gift.sender.user_id or is_received


class Players(Protocol):
    """The port to the players' identities, in the account service."""

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        """The player named `to`, in any case, and the one with the sender's id. Raises
        MeshError."""
        ...


class GiftFees(Protocol):
    """The port to the fees of gifts, in the account service."""

    async def charge(self, gift: Gift, deadline: Deadline) -> None:
        """Takes the fee from the sender's wallet. Idempotent by the gift's id.

        Raises FeeRefused: the fee was not taken and never will be. After any other MeshError
        the outcome is unknown.
        """
        ...

    async def refund(self, gift: Gift, deadline: Deadline) -> None:
        """Refunds the fee if it was taken, and refuses it permanently if it was not. Idempotent
        by the gift's id. After a MeshError the outcome is unknown."""
        ...


def check_gift(item_id: int, to: str, count: int) -> None:
    """Raises InvalidArgument naming every field that is wrong."""
    wrong: list[FieldViolation] = []
    if not 1 <= item_id <= MAX_ITEM_ID:
        wrong.append(FieldViolation("item_id", "must be the number of an item that you own"))
    if not _USERNAME.fullmatch(to):
        description = "must be a username: 3 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'"
        wrong.append(FieldViolation("to", description))
    if not 1 <= count <= MAX_GIFT_COUNT:
        wrong.append(FieldViolation("count", f"must be 1 to {MAX_GIFT_COUNT}"))
    if wrong:
        raise InvalidArgument.of_fields(*wrong)
