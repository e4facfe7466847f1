"""Clawbacks in the account database. Every function runs in the caller's transaction, by its
cursor. Who stores them holds the wallet of the purchase's player."""

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.clawbacks.gems import Clawback, ClawbackTotal
from account_svc.domain.purchases import Purchase
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState

_SELECT = """
SELECT kind, reversal_id, charge_id, amount_minor, state, taken, returned FROM clawback
"""


def list_clawbacks(cursor: Cursor, purchase_id: str) -> list[Clawback]:
    """All clawbacks of a purchase."""
    cursor.execute(f"{_SELECT} WHERE purchase_id = %s", (purchase_id,))
    return _clawbacks(cursor)


def find_clawbacks(cursor: Cursor, reversals: Sequence[Reversal]) -> list[Clawback]:
    """What is stored of those reversals."""
    cursor.execute(
        f"{_SELECT} JOIN unnest(%s::text[], %s::text[]) AS wanted (kind, reversal_id)"
        " USING (kind, reversal_id)",
        ([each.kind for each in reversals], [each.reversal_id for each in reversals]),
    )
    return _clawbacks(cursor)


def list_pending_clawbacks(cursor: Cursor, provider: str, after: str, limit: int) -> list[Clawback]:
    """Those of the provider whose money may still come back, in the order of their ids, after
    the id `after`."""
    cursor.execute(
        f"{_SELECT} JOIN purchase USING (purchase_id)"
        " WHERE state = 'pending' AND clawback_id > %s AND provider = %s"
        " ORDER BY clawback_id LIMIT %s",
        (after, provider, limit),
    )
    return _clawbacks(cursor)


def store_clawbacks(
    cursor: Cursor, purchase: Purchase, changed: Sequence[Clawback], total: ClawbackTotal
) -> None:
    """Stores new and changed clawbacks, and the purchase's total with them."""
    for each in changed:
        cursor.execute(
            """
            INSERT INTO clawback (clawback_id, purchase_id, kind, reversal_id, charge_id,
                                  amount_minor, state, taken, return_id, returned)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (clawback_id) DO UPDATE
            SET state = excluded.state, returned = excluded.returned, updated_at = now(),
                txid = pg_current_xact_id()
            """,
            (
                each.clawback_id,
                purchase.purchase_id,
                each.kind,
                each.reversal_id,
                each.charge_id,
                each.amount_minor,
                each.state,
                each.taken_gems,
                each.return_id,
                each.returned_gems,
            ),
        )
    cursor.execute(
        """
        INSERT INTO clawback_total (purchase_id, amount, price_minor, given_back_minor, taken)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (purchase_id) DO UPDATE
        SET given_back_minor = excluded.given_back_minor, taken = excluded.taken
        """,
        (
            purchase.purchase_id,
            purchase.amount_gems,
            purchase.price_minor,
            total.given_back_minor,
            total.taken_gems,
        ),
    )


def _clawbacks(cursor: Cursor) -> list[Clawback]:
    return [
        Clawback(
            ReversalKind(kind), reversal_id, charge_id, amount_minor, ReversalState(state), *gems
        )
        for kind, reversal_id, charge_id, amount_minor, state, *gems in cursor.fetchall()
    ]
