"""The sandbox's messages, as far as they are used here; see payment_sandbox.messages."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

from account_svc.domain.payments import (
    BookedCharge,
    Charge,
    ChargeState,
    PaymentDeclined,
    PaymentEvent,
    PaymentMethodExpired,
)
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState

Status = Literal["pending", "succeeded", "failed", "open", "won", "lost"]
STATES: dict[Status, ReversalState] = {
    "pending": ReversalState.PENDING,
    "succeeded": ReversalState.SETTLED,
    "failed": ReversalState.UNDONE,
    "open": ReversalState.PENDING,
    "lost": ReversalState.SETTLED,
    "won": ReversalState.UNDONE,
}


class ReversalMessage(BaseModel):
    """A refund or dispute."""

    id: str
    charge: str
    amount_minor: int
    status: Status

    def reversal(self, kind: ReversalKind) -> Reversal:
        return Reversal(kind, self.id, self.charge, self.amount_minor, STATES[self.status])


class ChargeMessage(BaseModel):
    """A charge in an event, with what is used of it there."""

    id: str
    key: str
    state: ChargeState
    decline_code: str

    def charge(self) -> Charge:
        is_expired = self.decline_code == "expired_card"
        declined = PaymentMethodExpired if is_expired else PaymentDeclined
        reason = declined.REASON if self.state is ChargeState.DECLINED else ""
        return Charge(self.key, self.id, self.state, reason)


class WholeCharge(ChargeMessage):
    """A charge with its money and its reversals."""

    amount_minor: int
    currency: str
    refunds: list[ReversalMessage]
    disputes: list[ReversalMessage]

    def booked(self) -> BookedCharge:
        return BookedCharge(self.key, self.id, self.state, self.amount_minor, self.currency)

    def reversals(self) -> Iterator[Reversal]:
        yield from (each.reversal(ReversalKind.REFUND) for each in self.refunds)
        yield from (each.reversal(ReversalKind.DISPUTE) for each in self.disputes)


class ChargePage(BaseModel):
    """A page of the list of charges."""

    charges: list[WholeCharge]
    next_after: int | None


class ReversalPage(BaseModel):
    """A page of the list of refunds, or of disputes."""

    refunds: list[ReversalMessage] = []
    disputes: list[ReversalMessage] = []
    next_after: int | None

    def reversals(self) -> Iterator[Reversal]:
        yield from (each.reversal(ReversalKind.REFUND) for each in self.refunds)
        yield from (each.reversal(ReversalKind.DISPUTE) for each in self.disputes)


class ErrorMessage(BaseModel):
    """The error in an answer."""

    code: str
    message: str


class RefusalMessage(BaseModel):
    """An answer that is not a success; it has the charge when that was declined."""

    error: ErrorMessage
    charge: ChargeMessage | None = None


class EventData(BaseModel):
    """The subject of an event: a charge, and its refund or dispute if it is about one."""

    charge: ChargeMessage
    refund: ReversalMessage | None = None
    dispute: ReversalMessage | None = None


class EventMessage(BaseModel):
    """The body of a webhook."""

    id: str
    data: EventData

    def event(self) -> PaymentEvent:
        is_reversal = self.data.refund is not None or self.data.dispute is not None
        charge = self.data.charge
        return PaymentEvent(self.id, charge.key, charge.id if is_reversal else "")
