"""Invariants of gems that were taken back because money was given back at the payment provider."""

from collections.abc import Mapping

CHECKS_OF_CLAWBACKS: Mapping[str, str] = {
    "clawbacks that took gems and their ledger entries are the same set": """
        SELECT * FROM (
            SELECT clawback_id, user_id, clawback.kind, taken FROM clawback
            JOIN purchase USING (purchase_id) WHERE taken > 0
        ) AS back
        FULL JOIN (
            SELECT operation_id, user_id, kind, amount FROM ledger
            WHERE kind IN ('refund', 'dispute')
        ) AS entered ON (clawback_id, back.user_id, back.kind, taken)
                      = (operation_id, entered.user_id, entered.kind, -amount)
        WHERE clawback_id IS NULL OR operation_id IS NULL
    """,
    "clawbacks that returned gems and their ledger entries are the same set": """
        SELECT * FROM (
            SELECT return_id, user_id, returned,
                   CASE clawback.kind WHEN 'refund' THEN 'refund_failed' ELSE 'dispute_won' END
                       AS kind
            FROM clawback JOIN purchase USING (purchase_id) WHERE returned > 0
        ) AS back
        FULL JOIN (
            SELECT operation_id, user_id, kind, amount FROM ledger
            WHERE kind IN ('refund_failed', 'dispute_won')
        ) AS entered ON (return_id, back.user_id, back.kind, returned)
                      = (operation_id, entered.user_id, entered.kind, amount)
        WHERE return_id IS NULL OR operation_id IS NULL
    """,
    "a purchase lost the share of its gems whose money was given back": """
        SELECT purchase_id, amount, price_minor, taken, given_back FROM (
            SELECT purchase_id, amount, price_minor, sum(taken - returned) AS taken,
                   coalesce(sum(amount_minor) FILTER (WHERE state <> 'undone'), 0) AS given_back
            FROM (SELECT purchase_id, amount, price_minor FROM purchase) AS bought
            JOIN clawback USING (purchase_id) GROUP BY purchase_id, amount, price_minor
        ) AS summed
        WHERE taken <> div(amount * least(given_back, price_minor), price_minor)
    """,
    "the total of a purchase is that of its clawbacks": """
        SELECT purchase_id FROM clawback_total
        FULL JOIN (
            SELECT purchase_id, sum(taken - returned) AS taken,
                   coalesce(sum(amount_minor) FILTER (WHERE state <> 'undone'), 0) AS given_back
            FROM clawback GROUP BY purchase_id
        ) AS summed USING (purchase_id)
        WHERE (clawback_total.taken, given_back_minor) IS DISTINCT FROM
              (summed.taken::bigint, summed.given_back::bigint)
    """,
    "an operation has one entry in the ledger": """
        SELECT operation_id, count(*) FROM ledger GROUP BY operation_id HAVING count(*) > 1
    """,
    "only credited purchases have clawbacks": """
        SELECT purchase_id FROM clawback LEFT JOIN purchase_outcome USING (purchase_id)
        WHERE outcome IS DISTINCT FROM 'credited'
    """,
    "a player who owes gems has spent nothing since": """
        SELECT user_id, number FROM ledger WHERE debt_after > 0 AND kind IN ('pull', 'gift_fee')
    """,
}
"""By what holds, the statement that selects what breaks it."""
