"""Checks of purchases and gifts once nothing is running, including the provider's book."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import orjson
import psycopg2

from proof import invariants, payment_book
from proof.faults.checks.settled import POLL_SECONDS, SHOWN, SIDES, differences, fetch, in_parts
from proof.faults.findings import Check, Findings
from proof.faults.history import Kind, Operation
from proof.invariants import Row, query
from proof.payment_book import BookedCharge
from proof.stack import Mesh

UNENDED = """
SELECT kind, saga_id::text, state, attempt_count, reason, is_parked FROM saga
WHERE due_at IS NOT NULL OR is_parked
"""
DELIVERED = """
SELECT intent_id::text, gift_id::text, gift.sender_id::text, receiver_name, item_id, count
FROM gift JOIN gift_outcome USING (gift_id)
WHERE delivered AND intent_id = ANY(%s::uuid[])
"""
CREDITED = """
SELECT intent_id::text, ledger.user_id::text, ledger.amount, balance_after
FROM purchase JOIN ledger ON operation_id = purchase_id
WHERE intent_id = ANY(%s::uuid[])
"""
PURCHASES = """
SELECT purchase_id::text, user_id::text, price_minor, outcome
FROM purchase LEFT JOIN purchase_outcome USING (purchase_id)
"""
OUTCOMES_OF = {
    "succeeded": {"credited"},
    "refunded": {"credited", "refunded"},
    "declined": {"failed"},
}
"""The outcomes that a purchase may have by the state of its charge; a pending charge is not final.
A charge that was refunded after its credit leaves the outcome as it is."""
WEBHOOK_SECONDS = 45.0
"""Longer than the longest pause of the sandbox before it sends a webhook again."""
CLAWBACKS = """
SELECT kind, reversal_id, charge_id, amount_minor, state FROM clawback
"""
STATE_OF = {
    "pending": "pending", "succeeded": "settled", "failed": "undone",
    "open": "pending", "lost": "settled", "won": "undone",
}  # fmt: skip
"""The state of a clawback by the status of its refund or dispute."""


def wait_until_ended(mesh: Mesh, findings: Findings, within_seconds: float) -> None:
    """Waits until every saga has ended; reports those that do not end in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        with contextlib.suppress(psycopg2.OperationalError):
            left = [row for side in SIDES for row in query(mesh, side, UNENDED)]
            if not left:
                return
            if time.monotonic() > deadline:
                detail = f"{len(left)} after {within_seconds:g} s: {left[:SHOWN]}"
                findings.add(Check.SAGAS, detail)
                return
        time.sleep(POLL_SECONDS)


def check_all(mesh: Mesh, findings: Findings) -> None:
    """Checks everything except the answers. Nothing may be running."""
    fees = differences(mesh, invariants.FEES_KEPT, invariants.GIFTS_DELIVERED)
    findings.extend(Check.FEES, fees)
    payment_book.wait_until_answering(mesh)
    findings.extend(Check.BOOK, _book_errors(mesh))


def check_answers(
    mesh: Mesh, findings: Findings, done: Sequence[Operation], refused: Sequence[Operation]
) -> None:
    """Compares the answers about purchases and gifts with what is stored."""
    # As with pulls: a refusal is of one try, and the outcome of other tries may be unknown.
    certain = [operation for operation in refused if not operation.unknown_count]
    for kind, side, statement in (
        (Kind.GIFT, "gacha", DELIVERED),
        (Kind.PURCHASE, "account", CREDITED),
    ):
        for some in in_parts([operation for operation in done if operation.kind is kind]):
            rows = fetch(mesh, side, statement, [operation.id for operation in some])
            findings.extend(Check.SUCCESSES, _unkept(some, rows))
        for some in in_parts([operation for operation in certain if operation.kind is kind]):
            for row in fetch(mesh, side, statement, [operation.id for operation in some]):
                findings.add(Check.REFUSALS, f"a {kind} that was refused: {row}")


def _unkept(done: Sequence[Operation], rows: Sequence[Row]) -> Iterator[str]:
    """The successes that are not stored exactly once as they were answered."""
    stored: dict[object, list[Row]] = {}
    for intent_id, *rest in rows:
        stored.setdefault(intent_id, []).append(tuple(rest))
    for operation in done:
        if (kept := stored.get(operation.id, [])) != [_promised(operation)]:
            yield f"{operation.kind} {operation.key}: {operation.body!r}, stored {kept}"


def _promised(operation: Operation) -> Row:
    """The row that must be stored for an answer, without its request."""
    answer = orjson.loads(operation.body)
    if operation.kind is Kind.PURCHASE:
        return (operation.user_id, operation.amount, answer["newBalance"])
    gift = orjson.loads(operation.request)
    return (answer["giftId"], operation.user_id, gift["to"], gift["itemId"], operation.amount)


def _book_errors(mesh: Mesh) -> Iterator[str]:
    """The differences between the provider's book and the purchases. The book is read first,
    because a purchase is stored before it is charged."""
    charges = payment_book.booked_charges(mesh)
    purchases = {str(row[0]): row[1:] for row in query(mesh, "account", PURCHASES)}
    keys = Counter(charge["key"] for charge in charges)
    for key, count in keys.items():
        if count > 1:
            yield f"purchase {key} was charged {count} times"
    for charge in charges:
        *bought, outcome = purchases.get(charge["key"], (None,))
        is_owed = bought == [charge["customer"], charge["amount_minor"]]
        if not is_owed or outcome not in OUTCOMES_OF.get(charge["state"], set()):
            yield f"charged {charge}, stored {purchases.get(charge['key'])}"
    yield from _unfollowed(mesh, charges, purchases)
    for purchase_id, (*who, outcome) in purchases.items():
        if purchase_id not in keys and outcome != "failed":
            yield f"purchase {purchase_id} of {who} is {outcome} without a charge"


def _unfollowed(
    mesh: Mesh, charges: Sequence[BookedCharge], purchases: Mapping[str, Row]
) -> Iterator[str]:
    """The refunds and disputes of credited purchases that are not stored as they are. Waits for
    webhooks that the sandbox has to send again."""
    booked = {
        (kind, each["id"], each["charge"], each["amount_minor"], STATE_OF[each["status"]])
        for charge in charges
        if purchases.get(charge["key"], (None,))[-1] == "credited"
        for kind, found in (("refund", charge["refunds"]), ("dispute", charge["disputes"]))
        for each in found
    }
    deadline = time.monotonic() + WEBHOOK_SECONDS
    while booked != (stored := set(query(mesh, "account", CLAWBACKS))):
        if time.monotonic() > deadline:
            missing, wrong = list(booked - stored)[:SHOWN], list(stored - booked)[:SHOWN]
            yield f"given back {missing}, stored {wrong}"
            return
        time.sleep(POLL_SECONDS)
