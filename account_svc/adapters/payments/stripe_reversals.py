"""Stripe's refunds and disputes. Pure.

A refund is money that goes back as soon as it exists, unless it fails or is canceled. Of a dispute
the money is withdrawn when it is opened, and reinstated when it is won. An inquiry
(`warning_...`) and a prevented dispute move no money.
Sources: docs.stripe.com/api/refunds/object and /api/disputes/object.
"""

from collections.abc import Iterable, Iterator

import stripe

from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState

NO_MONEY_MOVED = ("warning_needs_response", "warning_under_review", "warning_closed", "prevented")
REVERSAL_OBJECTS = ("refund", "dispute")
REFUNDED = "charge.refunded"
"""The type of the event about a refund whose object is the charge."""


def refund_of(refund: stripe.Refund) -> Reversal | None:
    """None for a refund of a charge without a PaymentIntent, which is not ours."""
    match refund.status:
        case "succeeded":
            state = ReversalState.SETTLED
        case "failed" | "canceled":
            state = ReversalState.UNDONE
        case _:
            state = ReversalState.PENDING
    return _reversal(ReversalKind.REFUND, refund, state)


def dispute_of(dispute: stripe.Dispute) -> Reversal | None:
    """None for a dispute that moved no money, and for one of a charge that is not ours."""
    if dispute.status in NO_MONEY_MOVED:
        return None
    match dispute.status:
        case "won":
            state = ReversalState.UNDONE
        case "lost":
            state = ReversalState.SETTLED
        case _:
            state = ReversalState.PENDING
    return _reversal(ReversalKind.DISPUTE, dispute, state)


def present(reversals: Iterable[Reversal | None]) -> Iterator[Reversal]:
    """Those that are ours and moved money."""
    return (each for each in reversals if each is not None)


def reversed_intent_id(event: stripe.Event, subject: dict[str, object]) -> str:
    """The PaymentIntent that an event about a refund or dispute is about; empty for any other."""
    if event.type == REFUNDED or subject.get("object") in REVERSAL_OBJECTS:
        intent = subject.get("payment_intent")
        if isinstance(intent, dict):
            intent = intent.get("id")
        return intent if isinstance(intent, str) else ""
    return ""


def _reversal(
    kind: ReversalKind, found: stripe.Refund | stripe.Dispute, state: ReversalState
) -> Reversal | None:
    intent = found.payment_intent
    intent_id = intent if isinstance(intent, str) or intent is None else intent.id
    if intent_id is None or found.amount < 1:
        return None
    return Reversal(kind, found.id, intent_id, found.amount, state)
