"""The decision log: the one point where the outcome of a transaction is chosen.

Invariant: a gid has at most one row in tx_decision, and it never changes its
outcome. Live coordinators (who want commit) and recoverers (who want abort) race
by inserting; the unique key picks the winner, and both act on what stands. A row
goes only after both branches are done and long after its gid could be in use.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.database import Database
from mesh.txn.words import Outcome

RETENTION_SECONDS = 3600
MAX_LISTED = 1000

SCHEMA = """
CREATE TABLE tx_decision (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    outcome    text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    decided_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz
);
CREATE INDEX tx_decision_open ON tx_decision (decided_at)
    WHERE outcome = 'commit' AND done_at IS NULL;
CREATE INDEX tx_decision_decided_at ON tx_decision (decided_at);
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """What stands for a gid; `done_at` is when both branches were known to have committed."""

    gid: str
    outcome: Outcome
    decided_at: datetime
    done_at: datetime | None


class DecisionLog:
    """The decisions in the coordinator's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def decide(self, gid: str, wanted: Outcome) -> Outcome:
        """Writes the decision unless one stands, and returns the one that does.

        Durable before it returns; idempotent. After an error it is unknown what
        stands: ask again, with either wish.
        """

        def insert_once(cursor: Cursor) -> Outcome:
            cursor.execute(
                "INSERT INTO tx_decision (gid, outcome) VALUES (%s, %s)"
                " ON CONFLICT DO NOTHING RETURNING outcome",
                (gid, wanted.value),
            )
            row = cursor.fetchone()
            if row is None:
                cursor.execute("SELECT outcome FROM tx_decision WHERE gid = %s", (gid,))
                row = cursor.fetchone()
            assert row is not None, "a decision that conflicted is there"
            return Outcome(row[0])

        return await self._database.autocommit(insert_once)

    async def mark_done(self, gids: Collection[str]) -> None:
        """Notes that both branches of these have taken effect. Idempotent."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                "UPDATE tx_decision SET done_at = now() WHERE gid = ANY(%s) AND done_at IS NULL",
                (sorted(gids),),
            )
        )

    async def unfinished(self, min_age_seconds: float) -> list[str]:
        """The gids decided to commit that are not known to be done, oldest first."""

        def select(cursor: Cursor) -> list[str]:
            cursor.execute(
                """
                SELECT gid FROM tx_decision
                WHERE outcome = 'commit' AND done_at IS NULL
                  AND decided_at <= now() - make_interval(secs => %s) AND NOT pg_is_in_recovery()
                ORDER BY decided_at LIMIT %s
                """,
                (min_age_seconds, MAX_LISTED),
            )
            return [gid for (gid,) in cursor.fetchall()]

        return await self._database.autocommit(select)

    async def standing(self, gids: Collection[str]) -> list[Decision]:
        """The decisions of these gids, and the commits that are not known to be done,
        of which the oldest MAX_LISTED; oldest first. Decides nothing."""

        def select(cursor: Cursor) -> list[Decision]:
            cursor.execute(
                """
                SELECT gid, outcome, decided_at, done_at FROM tx_decision WHERE gid = ANY(%s)
                UNION
                (SELECT gid, outcome, decided_at, done_at FROM tx_decision
                 WHERE outcome = 'commit' AND done_at IS NULL ORDER BY decided_at LIMIT %s)
                ORDER BY decided_at
                """,
                (list(gids), MAX_LISTED),
            )
            return [Decision(gid, Outcome(said), *times) for gid, said, *times in cursor.fetchall()]

        return await self._database.autocommit(select)

    async def forget_old(self) -> None:
        """Removes decisions that nobody can ask about any more."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                """
                DELETE FROM tx_decision
                WHERE decided_at < now() - make_interval(secs => %s)
                  AND (outcome = 'abort' OR done_at IS NOT NULL)
                """,
                (RETENTION_SECONDS,),
            )
        )
