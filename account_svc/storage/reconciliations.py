"""Comparisons with the payment provider, in the account database. Every function runs in the
caller's transaction, by its cursor."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.payments import Period
from account_svc.domain.purchases import PURCHASE

ABANDONED_SECONDS = 3600.0
"""A comparison that has not ended by then has died with its process."""
KEPT_DAYS = 400

_LEDGER_DIFFERENCES = """
WITH expected AS (
    SELECT purchase_id AS operation_id, user_id, 'purchase' AS kind, amount
    FROM purchase_outcome JOIN purchase USING (purchase_id)
    WHERE outcome = 'credited'
      AND purchase_outcome.created_at >= to_timestamp(%(since)s)
      AND purchase_outcome.created_at < to_timestamp(%(until)s)
    UNION ALL
    SELECT clawback_id, user_id, clawback.kind, -taken
    FROM clawback JOIN purchase USING (purchase_id)
    WHERE taken > 0 AND clawback.created_at >= to_timestamp(%(since)s)
      AND clawback.created_at < to_timestamp(%(until)s)
    UNION ALL
    SELECT return_id, user_id,
           CASE clawback.kind WHEN 'refund' THEN 'refund_failed' ELSE 'dispute_won' END, returned
    FROM clawback JOIN purchase USING (purchase_id)
    WHERE returned > 0 AND clawback.updated_at >= to_timestamp(%(since)s)
      AND clawback.updated_at < to_timestamp(%(until)s)
), entered AS (
    SELECT operation_id, user_id, kind, amount FROM ledger
    WHERE kind IN ('purchase', 'refund', 'refund_failed', 'dispute', 'dispute_won')
      AND created_at >= to_timestamp(%(since)s) AND created_at < to_timestamp(%(until)s)
)
SELECT operation_id::text, kind, amount, what, count(*) OVER () FROM (
    SELECT *, 'no such entry' AS what FROM (TABLE expected EXCEPT TABLE entered) AS missing
    UNION ALL
    SELECT *, 'an entry of nothing' FROM (TABLE entered EXCEPT TABLE expected) AS strange
) AS different
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class EndedReconciliation:
    """The counts of differences of a comparison, by kind."""

    ended_at: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BegunPurchase:
    """A purchase, with its place among those that were begun."""

    begun_at: datetime
    number: int
    purchase_id: str


def begin(cursor: Cursor, period_seconds: float) -> int | None:
    """The number of a new comparison; None when one was begun within `period_seconds`, unless
    it was abandoned. One caller at a time gets a number. Removes very old ones, but never the last
    one that has ended."""
    cursor.execute("LOCK TABLE reconciliation IN SHARE ROW EXCLUSIVE MODE")
    cursor.execute(
        "DELETE FROM reconciliation WHERE started_at < now() - make_interval(days => %s)"
        " AND number IS DISTINCT FROM"
        " (SELECT max(number) FROM reconciliation WHERE ended_at IS NOT NULL)",
        (KEPT_DAYS,),
    )
    cursor.execute(
        """
        INSERT INTO reconciliation (ended_at)
        SELECT NULL WHERE NOT EXISTS (
            SELECT FROM reconciliation
            WHERE started_at > now() - make_interval(secs => %s)
              AND (ended_at IS NOT NULL OR started_at > now() - make_interval(secs => %s))
        ) RETURNING number
        """,
        (period_seconds, ABANDONED_SECONDS),
    )
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def end(cursor: Cursor, number: int, counts: Mapping[str, int]) -> None:
    """Stores the result of a comparison."""
    cursor.execute(
        "UPDATE reconciliation SET ended_at = now(), counts = %s WHERE number = %s",
        (json.dumps(counts), number),
    )


def find_last(cursor: Cursor) -> EndedReconciliation | None:
    """The last comparison that has ended."""
    cursor.execute(
        "SELECT ended_at, counts FROM reconciliation WHERE ended_at IS NOT NULL"
        " ORDER BY number DESC LIMIT 1"
    )
    row = cursor.fetchone()
    return None if row is None else EndedReconciliation(*row)


def seconds_since_last(cursor: Cursor) -> float:
    """The time since the newest comparison that has ended was begun; 0 when there is none."""
    cursor.execute(
        "SELECT coalesce(extract(epoch FROM now() - max(started_at)), 0) FROM reconciliation"
        " WHERE ended_at IS NOT NULL"
    )
    row = cursor.fetchone()
    return 0.0 if row is None else float(row[0])


def list_credited(
    cursor: Cursor, period: Period, provider: str, after: BegunPurchase | None, limit: int
) -> list[BegunPurchase]:
    """The provider's purchases that were begun in the period and credited, after the given one,
    in order."""
    begun_after = (
        (datetime.fromtimestamp(period.since, UTC), 0)
        if after is None
        else (after.begun_at, after.number)
    )
    cursor.execute(
        """
        SELECT purchase.created_at, number, purchase_id::text
        FROM purchase JOIN purchase_outcome USING (purchase_id)
        WHERE (purchase.created_at, number) > %s AND purchase.created_at < to_timestamp(%s)
          AND provider = %s AND outcome = 'credited'
        ORDER BY purchase.created_at, number LIMIT %s
        """,
        (begun_after, period.until, provider, limit),
    )
    return [BegunPurchase(*row) for row in cursor.fetchall()]


def parked_purchases(cursor: Cursor, limit: int) -> tuple[int, Sequence[tuple[str, str]]]:
    """The purchases whose sagas wait for a person, whenever they were begun: how many they are, and
    the id and a description of the `limit` that have waited longest."""
    cursor.execute(
        "SELECT saga_id::text, state, reason, count(*) OVER () FROM saga"
        " WHERE is_parked AND kind = %s ORDER BY updated_at LIMIT %s",
        (PURCHASE, limit),
    )
    found = cursor.fetchall()
    listed = [(saga_id, f"{state}: {reason}") for saga_id, state, reason, _ in found]
    return (found[0][-1] if found else 0), listed


def ledger_differences(
    cursor: Cursor, period: Period, limit: int
) -> tuple[int, Sequence[tuple[str, str]]]:
    """What the purchases and clawbacks of the period and their ledger entries do not have in
    common: how many they are, and the operation id and a description of the first `limit`."""
    values = {"since": period.since, "until": period.until, "limit": limit}
    cursor.execute(_LEDGER_DIFFERENCES, values)
    found = cursor.fetchall()
    listed = [
        (operation_id, f"{kind} of {amount}: {what}")
        for operation_id, kind, amount, what, _ in found
    ]
    return (found[0][-1] if found else 0), listed
