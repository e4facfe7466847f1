"""Charges and refunds, and how each payment method makes the sandbox behave. Pure.

The caller's idempotency key names a charge permanently. A charge can be refunded in parts, and
disputed (`payment_sandbox.reversal`). A pending charge becomes a succeeded one only by the clock,
so that it does so even if the sandbox is down at that time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from payment_sandbox.reversal import Reversal, ReversalKind

MAX_AMOUNT_MINOR = 10**12
MAX_KEY_LENGTH = 255
MAX_TEXT_LENGTH = 128
MAX_PAGE_SIZE = 1000

_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_LENGTH}}}")


class ChargeState(StrEnum):
    """The state of a charge."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REFUNDED = "refunded"


class WebhookStyle(StrEnum):
    """How the events of a charge are delivered."""

    ONCE = "once"
    TWICE = "twice"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The effect of a payment method. `is_away` fails before anything is charged. `is_slow` and
    `drops_reply` affect the answer to the request that makes the charge, and no later one.
    """

    decline_code: str = ""
    is_away: bool = False
    is_slow: bool = False
    drops_reply: bool = False
    is_pending: bool = False
    webhooks: WebhookStyle = WebhookStyle.ONCE


BEHAVIOURS: Mapping[str, Behaviour] = {
    "credit_card": Behaviour(),
    "debit_card": Behaviour(),
    "paypal": Behaviour(),
    "apple_pay": Behaviour(),
    "google_pay": Behaviour(),
    "card_declined": Behaviour(decline_code="card_declined"),
    "card_insufficient_funds": Behaviour(decline_code="insufficient_funds"),
    "card_expired": Behaviour(decline_code="expired_card"),
    "card_unavailable": Behaviour(is_away=True),
    "card_slow": Behaviour(is_slow=True),
    "card_drop_reply": Behaviour(drops_reply=True),
    "card_pending": Behaviour(is_pending=True),
    "card_webhooks_twice": Behaviour(webhooks=WebhookStyle.TWICE),
    "card_webhooks_shuffled": Behaviour(webhooks=WebhookStyle.SHUFFLED),
}
"""Any other payment method is unsupported."""


class SandboxError(Exception):
    """Answered as {"error": {"code", "message"}} with the class's HTTP status."""

    STATUS: ClassVar[int] = 500
    CODE: ClassVar[str] = "api_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(SandboxError):
    STATUS, CODE = 400, "invalid_request"


class UnsupportedMethod(SandboxError):
    STATUS, CODE = 400, "payment_method_unsupported"

    def __init__(self) -> None:
        super().__init__(f"payment_method must be one of: {', '.join(BEHAVIOURS)}.")


class BadKey(SandboxError):
    STATUS, CODE = 401, "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("Send the secret key: Authorization: Bearer KEY.")


class NoSuchCharge(SandboxError):
    STATUS, CODE = 404, "charge_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such charge.")


class KeyReused(SandboxError):
    STATUS, CODE = 422, "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with another request.")


class NotRefundable(SandboxError):
    STATUS, CODE = 409, "charge_not_refundable"

    def __init__(self, state: ChargeState) -> None:
        super().__init__(f"A charge that is {state} cannot be refunded.")


class AlreadyRefunded(SandboxError):
    STATUS, CODE = 409, "charge_already_refunded"

    def __init__(self) -> None:
        super().__init__("The whole charge was refunded before, under another key.")


class NoSuchReversal(SandboxError):
    STATUS, CODE = 404, "reversal_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such refund or dispute.")


class NotReversible(SandboxError):
    STATUS, CODE = 409, "reversal_not_possible"


class TooManyRequests(SandboxError):
    STATUS, CODE = 429, "rate_limit"

    def __init__(self) -> None:
        super().__init__("Too many requests are under way; come back in a moment.")


class Away(SandboxError):
    STATUS, CODE = 503, "unavailable"

    def __init__(self) -> None:
        super().__init__("The provider is not available; nothing was done.")


class BookUnavailable(SandboxError):
    """The book's file cannot be read or written, for example because its disk is full."""

    STATUS, CODE = 503, "book_unavailable"

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"The sandbox cannot use its book ({fault}); make room on its disk, "
            "and repeat the request with the same key."
        )


@dataclass(frozen=True, slots=True)
class Order:
    """A charge to make; `amount_minor` is in the smallest unit of `currency` (ISO 4217)."""

    amount_minor: int
    currency: str
    payment_method: str
    customer: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge of the book; `number` counts them from 1. Times are Unix seconds.

    It is pending until `settles_at`; `decline_code` is empty unless it was declined.
    """

    number: int
    charge_id: str
    key: str
    order: Order
    decline_code: str
    created_at: float
    settles_at: float
    reversals: tuple[Reversal, ...] = ()

    def state(self, now: float) -> ChargeState:
        """It is refunded when no money is left of it after its refunds that did not fail."""
        if self.left_minor(ReversalKind.REFUND) <= 0:
            return ChargeState.REFUNDED
        if self.decline_code:
            return ChargeState.DECLINED
        return ChargeState.PENDING if now < self.settles_at else ChargeState.SUCCEEDED

    def left_minor(self, *kinds: ReversalKind) -> int:
        """The money that reversals of these kinds have left of it."""
        gone = (each for each in self.reversals if each.kind in kinds and each.returns_money)
        return self.order.amount_minor - sum(each.amount_minor for each in gone)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A webhook for a new state of a charge. It is due at `due_at`, `copies` times."""

    state: ChargeState
    due_at: float
    copies: int = 1


def checked_key(key: str) -> str:
    """Raises BadRequest."""
    if not _KEY.fullmatch(key):
        raise BadRequest(f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters.")
    return key


def check_known(charge: Charge | None) -> Charge:
    """Raises NoSuchCharge."""
    if charge is None:
        raise NoSuchCharge
    return charge


def behaviour_of(payment_method: str) -> Behaviour:
    """Raises UnsupportedMethod."""
    try:
        return BEHAVIOURS[payment_method]
    except KeyError:
        raise UnsupportedMethod from None


def announcements(charge: Charge, *, late_seconds: float, copies: int) -> Iterator[Announcement]:
    """The webhooks of a new charge: one for each of its states, due when it reaches that state.

    SHUFFLED sends "pending" again, `late_seconds` after "succeeded".
    """
    style = behaviour_of(charge.order.payment_method).webhooks
    copies = max(copies, 2 if style is WebhookStyle.TWICE else 1)
    if charge.decline_code:
        yield Announcement(ChargeState.DECLINED, charge.created_at, copies)
        return
    if charge.settles_at > charge.created_at:
        yield Announcement(ChargeState.PENDING, charge.created_at, copies)
    yield Announcement(ChargeState.SUCCEEDED, charge.settles_at, copies)
    if style is WebhookStyle.SHUFFLED:
        yield Announcement(ChargeState.PENDING, charge.settles_at + late_seconds, copies)
