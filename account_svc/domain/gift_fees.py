"""Fees for gifts, and the players of a gift. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from account_svc.domain.accounts import USER_NOT_FOUND, UserNotFound
from account_svc.domain.debits import INSUFFICIENT_CURRENCY
from account_svc.domain.wallets import WALLET_IN_DEBT, WalletInDebt
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError

GIFT_FEE = "gift_fee"
GIFT_FEE_REFUND = "gift_fee_refund"
MAX_FEE_GEMS = 1_000_000_000
MAX_PLAYERS = 100
MAX_FEES = 100


class InsufficientCurrency(FailedPrecondition):
    """The wallet holds less than the fee; nothing was taken."""

    REASON = INSUFFICIENT_CURRENCY

    def __init__(self) -> None:
        super().__init__("Insufficient currency")


class GiftFeeRefunded(FailedPrecondition):
    """The refund came before the charge."""

    REASON = "GIFT_FEE_REFUNDED"

    def __init__(self) -> None:
        super().__init__("The fee was already refunded; use another fee id.")


REFUSALS: Mapping[str, Callable[[], MeshError]] = {
    INSUFFICIENT_CURRENCY: InsufficientCurrency,
    WALLET_IN_DEBT: WalletInDebt,
    USER_NOT_FOUND: UserNotFound,
    GiftFeeRefunded.REASON: GiftFeeRefunded,
}
"""The errors by the stored reason of a fee that was never taken."""


@dataclass(frozen=True, slots=True)
class GiftFee:
    """A fee that a player pays once: `fee_id` is the id of its ledger entry too."""

    fee_id: str
    user_id: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class StoredGiftFee:
    """A fee and its outcome; `refusal` is empty when it was taken. The balance right after it is
    known to the call that took it."""

    fee: GiftFee
    refusal: str
    is_refunded: bool
    balance_after_gems: int | None = None

    @property
    def final_refusal(self) -> str:
        """The reason why the fee is not kept and never will be; empty if it is."""
        return GiftFeeRefunded.REASON if self.is_refunded else self.refusal


@dataclass(frozen=True, slots=True)
class Payer:
    """A player who may have to pay a fee."""

    user_id: str
    username: str
    balance_gems: int
    debt_gems: int = 0

    def refusal_of(self, fee_gems: int) -> str:
        """The reason why the wallet would refuse the fee now; empty if it would pay."""
        if self.debt_gems and fee_gems:
            return WALLET_IN_DEBT
        return INSUFFICIENT_CURRENCY if self.balance_gems < fee_gems else ""


def check_fee(amount_gems: int) -> None:
    """Raises InvalidArgument naming amount."""
    if not 1 <= amount_gems <= MAX_FEE_GEMS:
        raise InvalidArgument.of_field("amount", f"must be 1 to {MAX_FEE_GEMS:,} whole gems")


def check_asked_fee(fee_gems: int) -> None:
    """Raises InvalidArgument naming fee."""
    if not 0 <= fee_gems <= MAX_FEE_GEMS:
        raise InvalidArgument.of_field("fee", f"must be 0 to {MAX_FEE_GEMS:,} whole gems")


def check_fee_count(count: int) -> None:
    """Raises InvalidArgument naming fees."""
    if count > MAX_FEES:
        raise InvalidArgument.of_field("fees", f"must be at most {MAX_FEES}")


def check_player_count(field: str, count: int) -> None:
    """Raises InvalidArgument naming the field."""
    if count > MAX_PLAYERS:
        raise InvalidArgument.of_field(field, f"must be at most {MAX_PLAYERS}")
