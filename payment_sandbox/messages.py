"""Charges as JSON: in answers, in the list for reconciliation, and in webhooks.

    charge  {"id", "key", "state", "amount_minor", "currency", "payment_method", "customer",
             "decline_code", "created_at", "refund": null or {"id", "key", "created_at"}}
    event   {"id", "type": "charge.succeeded", "created_at", "data": {"charge": {...}}}

Times are Unix seconds.
"""

import orjson

from payment_sandbox.domain import Charge, ChargeState

Json = dict[str, object]


def charge_json(charge: Charge, state: ChargeState) -> Json:
    """The charge as JSON, in that state."""
    refund = charge.refund
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
        "refund": None
        if refund is None
        else {"id": refund.refund_id, "key": refund.key, "created_at": refund.created_at},
    }


def event_json(event_id: str, charge: Charge, state: ChargeState, created_at: float) -> bytes:
    """The body of a webhook."""
    return orjson.dumps(
        {
            "id": event_id,
            "type": f"charge.{state}",
            "created_at": created_at,
            "data": {"charge": charge_json(charge, state)},
        }
    )
