"""Transactions and their settlement as JSON, with stable keys."""

from deploy.gachactl.transactions.listing import Listing, Transaction
from deploy.gachactl.transactions.report import described
from deploy.gachactl.transactions.resolution import Resolution
from deploy.gachactl.transactions.sides import Services
from mesh.txn.decisions import Decision


def listing_json(listing: Listing, services: Services) -> dict[str, object]:
    """`failures` has a sentence for each service that does not answer; `is_cut` means
    that the list is incomplete."""
    return {
        "transactions": [_transaction_json(each, services) for each in listing.transactions],
        "failures": {name: described(error) for name, error in listing.failures.items()},
        "is_cut": listing.is_cut,
    }


def resolution_json(gid: str, resolution: Resolution) -> dict[str, object]:
    """`error` is null for a service that has confirmed; `was_lost`: its branch was redone."""
    steps = [
        {
            "service": step.service,
            "error": None if step.error is None else described(step.error),
            "was_lost": step.was_lost,
        }
        for step in resolution.steps
    ]
    return {
        "gid": gid,
        "outcome": resolution.outcome.value,
        "is_complete": resolution.is_complete,
        "steps": steps,
    }


def ended_json(gid: str, decision: Decision | None) -> dict[str, object]:
    """For a transaction that no side has prepared. `outcome` is null if it is unknown."""
    outcome = None if decision is None else decision.outcome.value
    return {"gid": gid, "outcome": outcome, "is_complete": decision is not None, "steps": []}


def _transaction_json(transaction: Transaction, services: Services) -> dict[str, object]:
    decision = transaction.decision
    first, second = transaction.prepared
    return {
        "gid": transaction.gid,
        "coordinator": transaction.coordinator,
        "age_seconds": round(transaction.age_seconds, 3),
        "prepared": {services.first: first, services.second: second},
        "decision": None if decision is None else decision.outcome.value,
        "state": transaction.state.value,
    }
