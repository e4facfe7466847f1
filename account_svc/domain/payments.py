"""The port to outside payment providers: what a purchase needs of any of them.

A provider cannot be locked and its replies can be lost. So a charge is named by the
caller's key, for ever: asking again with the same key is how an unknown reply is
resolved, and nothing is ever charged twice under one key. A refund gives back the
whole of one charge, and is named by its key too.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mesh.deadlines import Deadline
from mesh.errors import (
    DependencyAway,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    Unauthenticated,
)


class ProviderAway(DependencyAway):
    """The provider did not answer: it is not known whether it did what was asked."""

    REASON = "PAYMENT_PROVIDER_UNAVAILABLE"


class UnsupportedPaymentMethod(InvalidArgument):
    """The provider takes no such method; nothing was charged."""

    REASON = "PAYMENT_METHOD_UNSUPPORTED"

    @classmethod
    def of(cls, payment_method: str) -> "UnsupportedPaymentMethod":
        """The error for one that was asked for, naming the field."""
        description = f"{payment_method!r} is not supported here; choose another payment method"
        return cls(
            f"payment_method {description}",
            metadata={"field": "payment_method"},
            fields=(FieldViolation("payment_method", description),),
        )


class UnsupportedAmount(InvalidArgument):
    """The provider takes no charge so small, or so large; nothing was charged."""

    REASON = "PAYMENT_AMOUNT_UNSUPPORTED"

    @classmethod
    def refused(cls) -> "UnsupportedAmount":
        """The error, naming the field."""
        description = "costs less or more than the payment provider takes; buy another amount"
        return cls(
            f"amount {description}",
            metadata={"field": "amount"},
            fields=(FieldViolation("amount", description),),
        )


class PaymentDeclined(FailedPrecondition):
    """The provider refused the charge; nothing was charged."""

    REASON = "PAYMENT_DECLINED"


class PaymentMethodExpired(PaymentDeclined):
    """The method is past its date; nothing was charged."""

    REASON = "PAYMENT_METHOD_EXPIRED"


class BadSignature(Unauthenticated):
    """A webhook that the provider did not sign, or signed too long ago."""

    REASON = "WEBHOOK_SIGNATURE_INVALID"


class ChargeState(StrEnum):
    """What has become of a charge."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """Money to take once; `amount_minor` is in the smallest unit of `currency` (ISO 4217)."""

    key: str
    user_id: str
    amount_minor: int
    currency: str
    payment_method: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as its provider reports it; `decline_reason` is the REASON of an error above,
    and empty unless it was declined."""

    key: str
    charge_id: str
    state: ChargeState
    decline_reason: str = ""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """A webhook about a charge. It may come late, twice or out of order.

    It is a reason to ask for the charge, and no proof of its state.
    """

    event_id: str
    key: str


class PaymentProvider(Protocol):
    """One provider. Every method but `read_event` may raise ProviderAway."""

    @property
    def name(self) -> str:
        """Such as "sandbox" or "stripe"; stored with each purchase."""
        ...

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        """Takes the money, or returns the charge that the key made before.

        Idempotent by `order.key`. Raises UnsupportedPaymentMethod and
        UnsupportedAmount, after which there is no charge and never will be one.
        """
        ...

    async def find_charge(self, key: str, deadline: Deadline) -> Charge | None:
        """The charge of that key as it is now; None when the provider never saw the key."""
        ...

    async def refund(self, charge: Charge, key: str, deadline: Deadline) -> None:
        """Gives the whole charge back. Idempotent by `key`; a charge that was refunded
        already is success."""
        ...

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        """Checks and reads a webhook; None for one that is about no charge of ours.

        `body` is exactly what arrived, `signature` the provider's header. Raises
        BadSignature, and InvalidArgument for what cannot be read.
        """
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...
