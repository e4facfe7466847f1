"""Purchases in the account database. Every function runs in the caller's transaction, by its
cursor."""

from collections.abc import Collection, Mapping
from dataclasses import fields

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.purchases import Purchase, PurchaseRecord, PurchaseState
from mesh.postgres.sql_arrays import array_of_plain


def insert_purchase(cursor: Cursor, purchase: Purchase) -> PurchaseRecord | None:
    """Records a requested purchase; None when that attempt is already stored. The player must
    exist."""
    cursor.execute(
        """
        INSERT INTO purchase (purchase_id, intent_id, attempt, user_id, amount,
                              price_minor, currency, payment_method, provider)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING RETURNING number, created_at
        """,
        (
            purchase.purchase_id,
            purchase.intent_id,
            purchase.attempt,
            purchase.user_id,
            purchase.amount_gems,
            purchase.price_minor,
            purchase.currency,
            purchase.payment_method,
            purchase.provider,
        ),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    number, created_at = row
    return PurchaseRecord(number, purchase, PurchaseState.PENDING, "", None, 0.0, created_at, None)


def insert_outcome(cursor: Cursor, purchase_id: str, outcome: PurchaseState, reason: str) -> None:
    """Records the refusal of a purchase that had no outcome."""
    cursor.execute(
        "INSERT INTO purchase_outcome (purchase_id, outcome, reason) VALUES (%s, %s, %s)",
        (purchase_id, outcome, reason),
    )


def insert_outcomes(cursor: Cursor, purchase_ids: Collection[str], outcome: PurchaseState) -> None:
    """Records the outcome of purchases that had none, which is no refusal."""
    cursor.execute(
        "INSERT INTO purchase_outcome (purchase_id, outcome, reason)"
        " SELECT purchase_id, %s, '' FROM unnest(%s::uuid[]) AS ended (purchase_id)",
        (outcome, array_of_plain(purchase_ids)),
    )


_SELECT = """
SELECT purchase.number, purchase_id::text, intent_id::text, attempt, purchase.user_id::text,
       purchase.amount, purchase.price_minor, currency, payment_method, provider,
       coalesce(outcome, 'pending'), coalesce(reason, ''), balance_after,
       extract(epoch FROM now() - purchase.created_at)::float8,
       purchase.created_at, purchase_outcome.created_at, coalesce(clawback_total.taken, 0)
FROM purchase LEFT JOIN purchase_outcome USING (purchase_id)
LEFT JOIN ledger ON ledger.operation_id = purchase_id
LEFT JOIN clawback_total USING (purchase_id)
"""
FACT_COUNT = len(fields(Purchase))
"""How many columns after the number belong to the purchase, in the order of its fields."""


def find_purchase(cursor: Cursor, purchase_id: str) -> PurchaseRecord | None:
    """The purchase of that id."""
    cursor.execute(f"{_SELECT} WHERE purchase_id = %s", (purchase_id,))
    return next(iter(_records(cursor)), None)


def find_purchases(cursor: Cursor, purchase_ids: Collection[str]) -> Mapping[str, PurchaseRecord]:
    """The purchases of those ids that exist."""
    cursor.execute(
        f"{_SELECT} WHERE purchase_id = ANY(%s::uuid[])", (array_of_plain(purchase_ids),)
    )
    return {record.purchase.purchase_id: record for record in _records(cursor)}


def find_last_attempt(cursor: Cursor, intent_id: str) -> PurchaseRecord | None:
    """The newest purchase of an intent."""
    cursor.execute(f"{_SELECT} WHERE intent_id = %s ORDER BY attempt DESC LIMIT 1", (intent_id,))
    return next(iter(_records(cursor)), None)


def list_purchases(
    cursor: Cursor, user_id: str, before: int | None, limit: int
) -> list[PurchaseRecord]:
    """A player's purchases below the number `before`, newest first."""
    cursor.execute(
        f"""
        {_SELECT} WHERE purchase.user_id = %s AND (%s::bigint IS NULL OR purchase.number < %s)
        ORDER BY purchase.number DESC LIMIT %s
        """,
        (user_id, before, before, limit),
    )
    return _records(cursor)


def _records(cursor: Cursor) -> list[PurchaseRecord]:
    return [
        PurchaseRecord(number, Purchase(*rest[:FACT_COUNT]), PurchaseState(state), *how)
        for number, *rest in cursor.fetchall()
        for state, *how in [rest[FACT_COUNT:]]
    ]
