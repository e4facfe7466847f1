"""Invariants over all data, which hold after any fault of any process.

Each check reads whole tables and names the rows that break it.
"""

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg2

from proof.clawbacks import CHECKS_OF_CLAWBACKS
from proof.fairness import CHECKS_OF_DRAWS
from proof.stack import Mesh

SETTLE_SECONDS = 15.0
Row = tuple[object, ...]

CHECKS_OF_ACCOUNT = {
    **CHECKS_OF_CLAWBACKS,
    "a balance less its debt is the sum of its ledger": """
        SELECT user_id, balance, debt, coalesce(sum(amount), 0) FROM wallet
        LEFT JOIN ledger USING (user_id)
        GROUP BY user_id, balance, debt HAVING balance - debt <> coalesce(sum(amount), 0)
    """,
    "entries are numbered without a gap, and each follows from the one before it": """
        SELECT user_id, number FROM (
            SELECT user_id, number, balance_after - debt_after - amount AS net_before,
                   row_number() OVER entries AS due_number,
                   lag(balance_after - debt_after, 1, 0::bigint) OVER entries AS due_net
            FROM ledger WINDOW entries AS (PARTITION BY user_id ORDER BY number)
        ) AS entry WHERE number <> due_number OR net_before <> due_net
    """,
    "a wallet is what its newest entry left": """
        SELECT wallet.user_id, entry_count FROM wallet LEFT JOIN (
            SELECT DISTINCT ON (user_id) user_id, number, balance_after, debt_after
            FROM ledger ORDER BY user_id, number DESC
        ) AS newest USING (user_id)
        WHERE (entry_count, balance, debt)
            <> (coalesce(number, 0), coalesce(balance_after, 0), coalesce(debt_after, 0))
    """,
    "a balance and a debt are never negative, and never both above zero": """
        SELECT user_id, balance, debt FROM wallet
        WHERE balance < 0 OR debt < 0 OR (balance > 0 AND debt > 0)
    """,
    "a player has a wallet": """
        SELECT user_id FROM player LEFT JOIN wallet USING (user_id) WHERE balance IS NULL
    """,
    "purchases that were credited and their ledger entries are the same set": """
        SELECT * FROM (
            SELECT purchase_id, user_id, amount FROM purchase JOIN purchase_outcome
            USING (purchase_id) WHERE outcome = 'credited'
        ) AS bought
        FULL JOIN (SELECT operation_id, user_id, amount FROM ledger WHERE kind = 'purchase')
            AS entered ON (bought.purchase_id, bought.user_id, bought.amount)
                        = (entered.operation_id, entered.user_id, entered.amount)
        WHERE purchase_id IS NULL OR operation_id IS NULL
    """,
    "a purchase has an outcome if and only if its saga has ended as that says": """
        SELECT saga_id, state, outcome FROM (SELECT * FROM saga WHERE kind = 'purchase') AS saga
        FULL JOIN purchase ON saga_id = purchase_id LEFT JOIN purchase_outcome USING (purchase_id)
        WHERE purchase_id IS NULL
           -- Ended sagas are removed, a day after their end at the earliest.
           OR (saga_id IS NULL
               AND coalesce(purchase_outcome.created_at > now() - interval '1 day', true))
           OR saga_id IS NOT NULL AND coalesce(upper(outcome), 'none')
              <> CASE WHEN state IN ('CREDITED', 'FAILED', 'REFUNDED') THEN state ELSE 'none' END
    """,
    "no purchase and no clawback is overdue or waits for a person": """
        SELECT saga_id, state, attempt_count, reason FROM saga
        WHERE is_parked OR due_at < now() - interval '30 seconds'
    """,
    "gift fees that were taken and their ledger entries are the same set": """
        SELECT * FROM (SELECT fee_id, user_id, amount FROM gift_fee WHERE refusal = '') AS taken
        FULL JOIN (SELECT operation_id, user_id, amount FROM ledger WHERE kind = 'gift_fee')
            AS entered ON (taken.fee_id, taken.user_id, taken.amount)
                        = (entered.operation_id, entered.user_id, -entered.amount)
        WHERE fee_id IS NULL OR operation_id IS NULL
    """,
    "gift fees that were given back and their ledger entries are the same set": """
        SELECT * FROM (
            SELECT refund_id, user_id, amount FROM gift_fee_refund JOIN gift_fee USING (fee_id)
            WHERE refusal = ''
        ) AS refunded
        FULL JOIN (SELECT operation_id, user_id, amount FROM ledger WHERE kind = 'gift_fee_refund')
            AS entered ON (refunded.refund_id, refunded.user_id, refunded.amount)
                        = (entered.operation_id, entered.user_id, entered.amount)
        WHERE refund_id IS NULL OR operation_id IS NULL
    """,
}
CHECKS_OF_GACHA = {
    "an item has its pull": """
        SELECT pull_id, position FROM pull_item LEFT JOIN pull USING (pull_id)
        WHERE pull.count IS NULL
    """,
    "a pull has as many items as were paid for": """
        SELECT pull_id, count FROM pull LEFT JOIN pull_item USING (pull_id)
        GROUP BY pull_id, count HAVING count(item_id) <> count
    """,
    "an inventory is the sum of its player's pulls and gifts": """
        SELECT * FROM (
            SELECT user_id, item_id, sum(moved) AS owned FROM (
                SELECT user_id, item_id, 1 AS moved FROM pull JOIN pull_item USING (pull_id)
                UNION ALL
                SELECT gift.sender_id, item_id, -count
                FROM gift LEFT JOIN gift_outcome USING (gift_id)
                WHERE delivered IS DISTINCT FROM false
                UNION ALL
                SELECT gift.receiver_id, item_id, count FROM gift JOIN gift_outcome USING (gift_id)
                WHERE delivered
            ) AS move GROUP BY user_id, item_id HAVING sum(moved) <> 0
        ) AS left_over FULL JOIN inventory USING (user_id, item_id)
        WHERE owned IS DISTINCT FROM count
    """,
    "no gift is left under way": """
        SELECT gift_id FROM gift LEFT JOIN gift_outcome USING (gift_id)
        WHERE delivered IS NULL AND gift.created_at < now() - interval '60 seconds'
    """,
    "no decision is left undone": """
        SELECT gid FROM tx_decision WHERE decided_at < now() - interval '10 seconds'
    """,
    **CHECKS_OF_DRAWS,
}
DEBITS = """
    SELECT operation_id::text, user_id::text, -amount FROM ledger
    WHERE kind IN ('pull', 'owed_pull')
"""
PULLS = "SELECT pull_id::text, user_id::text, cost FROM pull"
FEES_KEPT = """
    SELECT fee_id::text, user_id::text, amount FROM gift_fee LEFT JOIN gift_fee_refund
    USING (fee_id) WHERE refusal = '' AND refund_id IS NULL
"""
GIFTS_NOT_RETURNED = """
    SELECT gift_id::text, gift.sender_id::text, fee FROM gift LEFT JOIN gift_outcome USING (gift_id)
    WHERE delivered IS DISTINCT FROM false
"""
GIFTS_DELIVERED = """
    SELECT gift_id::text, gift.sender_id::text, fee FROM gift JOIN gift_outcome USING (gift_id)
    WHERE delivered
"""
PREPARED = "SELECT gid FROM pg_prepared_xacts"


def broken_invariants(mesh: Mesh) -> list[str]:
    """Every invariant that does not hold, with up to five of its rows; empty when all do."""
    return [
        *_still_prepared(mesh),
        *(f"{name}: not so for {rows[:5]}" for name, rows in broken_rows(mesh)),
        *_unequal_sets(mesh),
    ]


def broken_rows(mesh: Mesh) -> Iterator[tuple[str, list[Row]]]:
    """Each invariant of one database that does not hold, with the rows that break it."""
    for database, checks in (("account", CHECKS_OF_ACCOUNT), ("gacha", CHECKS_OF_GACHA)):
        for name, statement in checks.items():
            if rows := query(mesh, database, statement):
                yield name, rows


def debits_without_pull(mesh: Mesh) -> list[Row]:
    """Reads the account first and the gacha second, as any client may during a load."""
    debits = set(query(mesh, "account", DEBITS))
    return sorted(debits - set(query(mesh, "gacha", PULLS)))


def query(mesh: Mesh, database: str, statement: str) -> list[Row]:
    """All rows of a statement, read as the reader on a connection of its own."""
    return rows_at(mesh.reader_url(database), statement)


def rows_at(url: str, statement: str) -> list[Row]:
    """All rows of a statement at the database of a postgresql:// URL."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def _still_prepared(mesh: Mesh) -> Iterator[str]:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        prepared = [
            row for database in ("account", "gacha") for row in query(mesh, database, PREPARED)
        ]
        if not prepared:
            return
        if time.monotonic() > deadline:
            yield f"still prepared after {SETTLE_SECONDS:g} s: {prepared[:5]}"
            return
        time.sleep(0.2)


def _unequal_sets(mesh: Mesh) -> Iterator[str]:
    debits, pulls = set(query(mesh, "account", DEBITS)), set(query(mesh, "gacha", PULLS))
    if debits - pulls:
        yield f"debits without a pull: {sorted(debits - pulls)[:5]}"
    if pulls - debits:
        yield f"pulls without a debit: {sorted(pulls - debits)[:5]}"
    delivered = set(query(mesh, "gacha", GIFTS_DELIVERED))
    kept = set(query(mesh, "account", FEES_KEPT))
    under_way_or_delivered = set(query(mesh, "gacha", GIFTS_NOT_RETURNED))
    if delivered - kept:
        yield f"gifts delivered without a fee: {sorted(delivered - kept)[:5]}"
    if kept - under_way_or_delivered:
        yield f"fees kept of no gift: {sorted(kept - under_way_or_delivered)[:5]}"
