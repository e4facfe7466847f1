"""Purchases of gems: their data and their outcomes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from account_svc.domain.prices import MAX_PURCHASE_GEMS
from mesh.errors import FieldViolation, InvalidArgument, NotFound, ResourceExhausted

MAX_PAYMENT_METHOD_LENGTH = 64
PENDING_RETRY_SECONDS = 1.0

PURCHASE = "purchase"
"""The kind of its saga and of its ledger entry."""


class PurchaseNotFound(NotFound):
    """No purchase of this player has this id."""

    REASON = "PURCHASE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("You have no such purchase; list your purchases.")


class TooManyPendingPurchases(ResourceExhausted):
    """The player has too many purchases under way; this one was neither stored nor charged."""

    REASON = "TOO_MANY_PENDING_PURCHASES"

    def __init__(self) -> None:
        super().__init__(
            "Too many of your purchases are pending; buy again when some have ended. You are not "
            "charged for this one.",
            retry_after_seconds=PENDING_RETRY_SECONDS,
        )


class PurchaseState(StrEnum):
    """A purchase as its player sees it."""

    PENDING = "pending"
    CREDITED = "credited"
    FAILED = "failed"
    REFUNDED = "refunded"

    @property
    def is_refused(self) -> bool:
        """Whether it has ended without keeping money."""
        return self in (PurchaseState.FAILED, PurchaseState.REFUNDED)


class PurchaseSagaState(StrEnum):
    """The states of a purchase's saga."""

    CHARGING = "CHARGING"
    PAID = "PAID"
    REFUNDING = "REFUNDING"
    CREDITED = "CREDITED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"


AT_THE_PROVIDER = [PurchaseSagaState.CHARGING, PurchaseSagaState.REFUNDING]
"""The states in which the provider says what comes next."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """A requested purchase. `purchase_id` is also the id of its charge and its ledger entry;
    `intent_id` names its player and key. A key has one purchase."""

    purchase_id: str
    intent_id: str
    user_id: str
    amount_gems: int
    price_minor: int
    currency: str
    payment_method: str
    provider: str

    def matches(self, amount_gems: int, payment_method: str) -> bool:
        """Whether these are the parameters of the purchase's intent."""
        return (self.amount_gems, self.payment_method) == (amount_gems, payment_method)


@dataclass(frozen=True, slots=True)
class PurchaseRecord:
    """A stored purchase. `number` grows with every purchase of the database, `reason` says why
    it was not credited, `balance_after_gems` is the balance right after the credit;
    `taken_back_gems` were taken since, because money was given back."""

    number: int
    purchase: Purchase
    state: PurchaseState
    reason: str
    balance_after_gems: int | None
    age_seconds: float
    created_at: datetime
    ended_at: datetime | None
    taken_back_gems: int = 0


def purchase_id_of(charge_key: str) -> str | None:
    """The id of the purchase that a charge's key names; None for the key of another user of the
    same provider."""
    try:
        return str(UUID(charge_key))
    except ValueError:
        return None


def check_purchase(amount_gems: int, payment_method: str) -> None:
    """Raises InvalidArgument naming every field that is wrong."""
    wrong: list[FieldViolation] = []
    if not 1 <= amount_gems <= MAX_PURCHASE_GEMS:
        wrong.append(FieldViolation("amount", f"must be 1 to {MAX_PURCHASE_GEMS:,} whole gems"))
    if (
        not 1 <= len(payment_method) <= MAX_PAYMENT_METHOD_LENGTH
        or not payment_method.isprintable()
    ):
        description = (
            f"must be 1 to {MAX_PAYMENT_METHOD_LENGTH} printable characters, such as 'credit_card'"
        )
        wrong.append(FieldViolation("payment_method", description))
    if wrong:
        raise InvalidArgument.of_fields(*wrong)
