"""Charges, refunds and disputes as JSON: in answers, in lists for reconciliation, and in webhooks.

    charge    {"id", "key", "state", "amount_minor", "currency", "payment_method", "customer",
               "decline_code", "created_at", "refunds": [...], "disputes": [...]}
    refund    {"id", "key", "charge", "amount_minor", "status": "pending", "succeeded" or
               "failed", "created_at"}
    dispute   the same, with the status "open", "won" or "lost"
    event     {"id", "type", "created_at", "data": {"charge": {...}}}, with "refund" or "dispute"
              in the data when it is about one

The types are charge.pending, charge.succeeded and charge.declined; refund.created and
refund.updated; dispute.created and dispute.closed. Times are Unix seconds.
"""

import orjson

from payment_sandbox.domain import Announcement, Charge, ChargeState
from payment_sandbox.reversal import Reversal, ReversalKind

Json = dict[str, object]


def charge_json(charge: Charge, state: ChargeState) -> Json:
    """The charge as JSON, in that state."""
    return {
        "id": charge.charge_id,
        "key": charge.key,
        "state": state,
        "amount_minor": charge.order.amount_minor,
        "currency": charge.order.currency,
        "payment_method": charge.order.payment_method,
        "customer": charge.order.customer,
        "decline_code": charge.decline_code,
        "created_at": charge.created_at,
        "refunds": _of_kind(charge, ReversalKind.REFUND),
        "disputes": _of_kind(charge, ReversalKind.DISPUTE),
    }


def reversal_json(reversal: Reversal) -> Json:
    """The refund or dispute as JSON."""
    return {
        "id": reversal.reversal_id,
        "key": reversal.key,
        "charge": reversal.charge_id,
        "amount_minor": reversal.amount_minor,
        "status": reversal.status,
        "created_at": reversal.created_at,
    }


def charge_event(event_id: str, charge: Charge, announcement: Announcement) -> bytes:
    """The body of a webhook about a charge."""
    state = announcement.state
    data: Json = {"charge": charge_json(charge, state)}
    return _event(event_id, f"charge.{state}", announcement.due_at, data)


def reversal_event(
    event_id: str, verb: str, charge: Charge, reversal: Reversal, now: float
) -> bytes:
    """The body of a webhook about a refund or dispute, such as "created"."""
    data: Json = {
        "charge": charge_json(charge, charge.state(now)),
        str(reversal.kind): reversal_json(reversal),
    }
    return _event(event_id, f"{reversal.kind}.{verb}", now, data)


def _event(event_id: str, kind: str, created_at: float, data: Json) -> bytes:
    return orjson.dumps({"id": event_id, "type": kind, "created_at": created_at, "data": data})


def _of_kind(charge: Charge, kind: ReversalKind) -> list[Json]:
    return [reversal_json(each) for each in charge.reversals if each.kind is kind]
