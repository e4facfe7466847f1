"""The port to outside payment providers: what a purchase needs from each of them.

A provider cannot be locked, and its replies can be lost. So the caller's key names a charge
permanently. A call with the same key resolves an unknown outcome, and nothing is charged twice
under one key. A refund of ours returns one whole charge, and has a key too. Operators and banks
reverse charges as well, in whole or in part: see `account_svc.domain.reversals`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from account_svc.domain.reversals import Reversal, ReversedCharge
from mesh.deadlines import Deadline
from mesh.errors import (
    DependencyAway,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    Unauthenticated,
)

MAX_CONNECTIONS = 384
"""Of an instance to its provider. More than the sagas that it drives at a time, so that no charge
waits because others are slow."""


class ProviderAway(DependencyAway):
    """The provider did not answer: the outcome of the request is unknown."""

    REASON = "PAYMENT_PROVIDER_UNAVAILABLE"


class OtherProvider(FailedPrecondition):
    """The purchase was started with another provider; only that one may charge for it."""

    REASON = "PAYMENT_PROVIDER_CHANGED"


class UnsupportedPaymentMethod(InvalidArgument):
    """The provider does not accept the method; nothing was charged."""

    REASON = "PAYMENT_METHOD_UNSUPPORTED"

    @classmethod
    def of(cls, payment_method: str, supported: Sequence[str]) -> "UnsupportedPaymentMethod":
        """The error for a requested method, naming the field and what is supported."""
        description = f"{payment_method!r} is not supported here; use one of {', '.join(supported)}"
        return cls(
            f"payment_method {description}",
            metadata={"field": "payment_method", "payment_methods": ",".join(supported)},
            fields=(FieldViolation("payment_method", description),),
        )


class UnsupportedAmount(InvalidArgument):
    """The amount is too small or too large for the provider; nothing was charged."""

    REASON = "PAYMENT_AMOUNT_UNSUPPORTED"

    @classmethod
    def refused(cls) -> "UnsupportedAmount":
        """The error, naming the field."""
        description = "is outside the payment provider's limits; buy another amount"
        return cls(
            f"amount {description}",
            metadata={"field": "amount"},
            fields=(FieldViolation("amount", description),),
        )


class PaymentDeclined(FailedPrecondition):
    """The provider refused the charge; nothing was charged."""

    REASON = "PAYMENT_DECLINED"


class PaymentMethodExpired(PaymentDeclined):
    """The method has expired; nothing was charged."""

    REASON = "PAYMENT_METHOD_EXPIRED"


class PaymentRefunded(FailedPrecondition):
    """The charge was refunded at the provider, outside this service; no money was kept."""

    REASON = "PAYMENT_REFUNDED"

    def __init__(self) -> None:
        super().__init__(
            "The payment was refunded at the provider; buy again, with a new idempotency key."
        )


class BadSignature(Unauthenticated):
    """A webhook that the provider did not sign, or signed too long ago. Each message names the
    header with the signature, and the remedy."""

    REASON = "WEBHOOK_SIGNATURE_INVALID"

    @classmethod
    def missing(cls, header: str) -> "BadSignature":
        """There is no signature."""
        return cls(
            f"The {header} header is missing: webhooks come from the payment provider, and proxies "
            "pass this header on."
        )

    @classmethod
    def malformed(cls, header: str) -> "BadSignature":
        """The signature is not written as the provider writes it."""
        return cls(
            f"The {header} header is not in the payment provider's format: proxies pass it on "
            "unchanged."
        )

    @classmethod
    def of_another(cls, header: str) -> "BadSignature":
        """Another secret or another body was signed."""
        return cls(
            f"The {header} header does not sign this body: PAYMENT_WEBHOOK_SECRET is the secret of "
            "this endpoint at the payment provider, and proxies pass header and body on unchanged."
        )

    @classmethod
    def too_old(cls, header: str) -> "BadSignature":
        """The signature was made too long ago, or by a clock that is ahead."""
        return cls(
            f"The {header} header was signed too long ago, or in the future: send the webhook "
            "again, and check the clocks."
        )


class ChargeState(StrEnum):
    """The state of a charge."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """A charge to make once; `amount_minor` is in the smallest unit of `currency` (ISO 4217)."""

    key: str
    user_id: str
    amount_minor: int
    currency: str
    payment_method: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as reported by its provider. `decline_reason` is the REASON of an error above;
    it is empty unless the charge was declined."""

    key: str
    charge_id: str
    state: ChargeState
    decline_reason: str = ""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """A webhook about a charge. It may come late, twice or out of order.

    It is a reason to fetch the charge, not a proof of its state. `key` is the charge's key; it is
    empty when the event does not say it. `reversed_charge_id` is the provider's id of a charge
    with a new or changed refund or dispute; it is empty for any other event.
    """

    event_id: str
    key: str
    reversed_charge_id: str = ""


@dataclass(frozen=True, slots=True)
class BookedCharge:
    """A charge in the provider's own list, for comparison. `amount_minor` is what was charged."""

    key: str
    charge_id: str
    state: ChargeState
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to just before `until`, in Unix seconds."""

    since: int
    until: int


class PaymentProvider(Protocol):
    """One provider. Every method except `read_event` may raise ProviderAway."""

    @property
    def name(self) -> str:
        """Such as "sandbox" or "stripe"; stored with each purchase."""
        ...

    @property
    def payment_methods(self) -> tuple[str, ...]:
        """The payment methods that players are shown; at least one. "pm_..." stands for the id of a
        method at the provider."""
        ...

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        """Makes the charge, or returns the earlier charge of the key.

        Idempotent by `order.key`. Raises UnsupportedPaymentMethod and UnsupportedAmount; then
        there is no charge under the key, and never will be.
        """
        ...

    async def find_charge(self, key: str, deadline: Deadline) -> Charge | None:
        """The present state of the key's charge; None when the provider never saw the key."""
        ...

    async def refund(self, charge: Charge, key: str, deadline: Deadline) -> None:
        """Refunds the whole charge. Idempotent by `key`. Succeeds if the charge is already
        refunded."""
        ...

    async def find_reversals(self, charge_id: str, deadline: Deadline) -> ReversedCharge | None:
        """All refunds and disputes of the charge, as they are now; None when the provider has no
        such charge."""
        ...

    def list_charges(self, period: Period) -> AsyncIterator[BookedCharge]:
        """The charges with a key of ours that were made in the period, in no order. A refunded
        one may be listed as succeeded."""
        ...

    def list_reversals(self, period: Period) -> AsyncIterator[Reversal]:
        """The refunds and disputes that were made in the period, in no order. They may belong to
        charges of another user of the same provider."""
        ...

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        """Checks and reads a webhook; None if it does not concern one of our charges.

        `body` is the exact received body, `signature` the provider's header. Raises
        BadSignature, and InvalidArgument for a malformed body.
        """
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...
