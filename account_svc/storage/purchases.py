"""Purchases in the account database. Every function runs in the caller's transaction, by its
cursor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.purchases import Purchase, PurchaseRecord, PurchaseState
from mesh.postgres.sql_arrays import array_of_plain

_FACTS = [field.name for field in fields(Purchase)]
"""The columns that belong to the purchase are in the order of its fields."""


def insert_purchases(cursor: Cursor, purchases: Sequence[Purchase]) -> Mapping[str, PurchaseRecord]:
    """Records requested purchases; their players must exist. Returns those that were recorded
    now, by id; the intents of the others have a purchase already. Transactions that record the
    same purchases wait for one another, in one order."""
    cursor.execute(
        """
        INSERT INTO purchase (purchase_id, intent_id, user_id, amount,
                              price_minor, currency, payment_method, provider)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[],
                             %s::bigint[], %s::text[], %s::text[], %s::text[])
            AS requested (purchase_id, intent_id) ORDER BY intent_id
        ON CONFLICT DO NOTHING RETURNING purchase_id::text, number, created_at
        """,
        [[getattr(each, name) for each in purchases] for name in _FACTS],
    )
    by_id = {each.purchase_id: each for each in purchases}
    return {
        purchase_id: PurchaseRecord(
            number, by_id[purchase_id], PurchaseState.PENDING, "", None, 0.0, created_at, None
        )
        for purchase_id, number, created_at in cursor.fetchall()
    }


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


def forget_declined(cursor: Cursor, age: timedelta, max_count: int) -> int:
    """Removes up to `max_count` purchases that were declined longer ago than `age`, which is a
    day at least. Returns how many."""
    cursor.execute("SELECT forget_declined_purchases(%s, %s)", (age, max_count))
    (removed_count,) = cursor.fetchone() or (0,)
    return int(removed_count)


_SELECT = """
SELECT purchase.number, purchase_id::text, intent_id::text, purchase.user_id::text,
       purchase.amount, purchase.price_minor, currency, payment_method, provider,
       coalesce(outcome, 'pending'), coalesce(reason, ''), balance_after,
       extract(epoch FROM now() - purchase.created_at)::float8,
       purchase.created_at, purchase_outcome.created_at, coalesce(clawback_total.taken, 0)
FROM purchase LEFT JOIN purchase_outcome USING (purchase_id)
LEFT JOIN ledger ON ledger.operation_id = purchase_id
LEFT JOIN clawback_total USING (purchase_id)
"""


def find_purchases(cursor: Cursor, purchase_ids: Collection[str]) -> Mapping[str, PurchaseRecord]:
    """The purchases of those ids that exist."""
    cursor.execute(
        f"{_SELECT} WHERE purchase_id = ANY(%s::uuid[])", (array_of_plain(purchase_ids),)
    )
    return {record.purchase.purchase_id: record for record in _records(cursor)}


def find_by_intents(cursor: Cursor, intent_ids: Collection[str]) -> Mapping[str, PurchaseRecord]:
    """The purchases of those intents that have one, by intent."""
    # Most intents are new. To plan the joins costs more than to see that nothing is stored.
    cursor.execute(
        "SELECT intent_id::text FROM purchase WHERE intent_id = ANY(%s::uuid[])",
        (array_of_plain(intent_ids),),
    )
    stored = {intent_id for (intent_id,) in cursor.fetchall()}
    if not stored:
        return {}
    cursor.execute(f"{_SELECT} WHERE intent_id = ANY(%s::uuid[])", (array_of_plain(stored),))
    return {record.purchase.intent_id: record for record in _records(cursor)}


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
        PurchaseRecord(number, Purchase(*rest[: len(_FACTS)]), PurchaseState(state), *how)
        for number, *rest in cursor.fetchall()
        for state, *how in [rest[len(_FACTS) :]]
    ]
