"""The decision log: the one point where the outcome of a transaction is chosen.

Invariant: a gid has at most one row in tx_decision, and it never changes its
outcome. Live coordinators (who want commit) and recoverers (who want abort) race
by inserting; the unique key picks the winner, and both act on what stands. A row
goes only after both branches are done and long after its gid could be in use.

A decision to commit keeps what the first participant does (mesh/txn/redo.py tells why),
until it is done.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.txn.model import Outcome, gid_made_at_seconds

RETENTION_SECONDS = 3600
"""How long a row stays after it was of use: an abort after it was decided, a commit after
both branches were done. Whatever comes later still finds no row and does no harm:

- *A decision to commit*, of a coordinator that was asleep: refused by DECIDABLE_SECONDS.
  The database's clock says both how old the gid is and when a row goes. So a gid whose
  abort was removed can be committed only if its coordinator's clock is ahead of that
  clock by RETENTION_SECONDS - DECIDABLE_SECONDS, 59 minutes.
- *Resolve* inserts an abort. For a gid that was aborted or never decided this is the answer
  that stood or would have stood: a database that was away for a day, with its branches,
  asks so. For one that was committed both branches have ended, so that nobody acts on the
  answer but one that asked before that; its Abort is refused with ALREADY_COMMITTED.
- *Commit and Abort* don't ask the log.
"""
DECIDABLE_SECONDS = 60
"""A gid that is older cannot be committed any more. Far above what a transaction takes (a
Prepare is refused after 30 s, a transaction is given up after 10), far below RETENTION_SECONDS.
"""
MAX_LISTED = 1000

SCHEMA = """
CREATE TABLE tx_decision (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    outcome    text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    decided_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    first_operations bytea CHECK (
        first_operations IS NULL OR (outcome = 'commit' AND done_at IS NULL)
    )
);
-- To press together what is gone in a moment costs more than to write it.
ALTER TABLE tx_decision ALTER first_operations SET STORAGE EXTERNAL;
CREATE INDEX tx_decision_open ON tx_decision (decided_at, gid)
    WHERE outcome = 'commit' AND done_at IS NULL;
CREATE INDEX tx_decision_decided_at ON tx_decision (decided_at);
"""

_COMMIT_WHILE_YOUNG = """
INSERT INTO tx_decision (gid, outcome, first_operations)
SELECT %s, 'commit', %s WHERE to_timestamp(%s) > now() - make_interval(secs => %s)
ON CONFLICT DO NOTHING RETURNING outcome
"""
_ABORT = """
INSERT INTO tx_decision (gid, outcome) VALUES (%s, 'abort')
ON CONFLICT DO NOTHING RETURNING outcome
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """What stands for a gid; `done_at` is when both branches were known to have committed."""

    gid: str
    outcome: Outcome
    decided_at: datetime
    done_at: datetime | None


class Place(NamedTuple):
    """Where a decision stands in the order of decisions."""

    decided_at: datetime
    gid: str


BEGINNING = Place(datetime.min.replace(tzinfo=UTC), "")


class DecisionLog:
    """The decisions in the coordinator's database."""

    def __init__(self, database: Database, *, max_listed: int = MAX_LISTED) -> None:
        self._database = database
        self.max_listed = max_listed
        """The most decisions that one list has."""

    async def decide(
        self, gid: str, wanted: Outcome, first_operations: bytes | None = None
    ) -> Outcome:
        """Writes the decision unless one stands, and returns the one that does.

        `first_operations` are kept with a commit; a gid that is too old to be committed
        is aborted. Durable before it returns; idempotent. After an error it is unknown
        what stands: ask again, with either wish. Raises InvalidArgument for what is no gid.
        """
        made_at_seconds = gid_made_at_seconds(gid)

        def insert_once(cursor: Cursor) -> Outcome:
            if wanted is Outcome.COMMIT:
                values = (gid, first_operations, made_at_seconds, DECIDABLE_SECONDS)
                cursor.execute(_COMMIT_WHILE_YOUNG, values)
            else:
                cursor.execute(_ABORT, (gid,))
            if row := cursor.fetchone():
                return Outcome(row[0])
            return _existing_or_abort(cursor, gid)

        return await self._database.autocommit(insert_once)

    async def resolve(self, gid: str) -> Outcome:
        """Forces and returns the outcome: abort unless a decision stands. Idempotent."""
        return await self.decide(gid, Outcome.ABORT)

    async def operations(self, gid: str) -> bytes | None:
        """What the first participant does for a transaction that is decided to commit;
        None when it is not, or is known to be done."""

        def select(cursor: Cursor) -> bytes | None:
            cursor.execute("SELECT first_operations FROM tx_decision WHERE gid = %s", (gid,))
            row = cursor.fetchone()
            return None if row is None or row[0] is None else bytes(row[0])

        return await self._database.autocommit(select)

    async def mark_done(self, gids: Collection[str]) -> None:
        """Notes that both branches of these have taken effect. Idempotent."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                "UPDATE tx_decision SET done_at = now(), first_operations = NULL"
                " WHERE gid = ANY(%s) AND outcome = 'commit' AND done_at IS NULL",
                (sorted(gids),),
            )
        )

    async def unfinished(self, min_age_seconds: float, after: Place = BEGINNING) -> list[Place]:
        """The decisions to commit that are not known to be done, oldest first, at most
        `max_listed` of those behind `after`."""

        def select(cursor: Cursor) -> list[Place]:
            cursor.execute(
                """
                SELECT decided_at, gid FROM tx_decision
                WHERE outcome = 'commit' AND done_at IS NULL AND (decided_at, gid) > (%s, %s)
                  AND decided_at <= now() - make_interval(secs => %s) AND NOT pg_is_in_recovery()
                ORDER BY decided_at, gid LIMIT %s
                """,
                (*after, min_age_seconds, self.max_listed),
            )
            return [Place(*row) for row in cursor.fetchall()]

        return await self._database.autocommit(select)

    async def open_gids(self) -> list[str]:
        """The gids decided to commit that are not known to be done, oldest first; at most
        `max_listed`."""
        return [decision.gid for decision in await self.list_decisions([])]

    async def list_decisions(self, gids: Collection[str]) -> list[Decision]:
        """The decisions of these gids, and the commits that are not known to be done,
        of which the oldest `max_listed`; oldest first. Decides nothing."""

        def select(cursor: Cursor) -> list[Decision]:
            cursor.execute(
                """
                SELECT gid, outcome, decided_at, done_at FROM tx_decision WHERE gid = ANY(%s)
                UNION
                (SELECT gid, outcome, decided_at, done_at FROM tx_decision
                 WHERE outcome = 'commit' AND done_at IS NULL ORDER BY decided_at LIMIT %s)
                ORDER BY decided_at
                """,
                (list(gids), self.max_listed),
            )
            return [Decision(gid, Outcome(said), *times) for gid, said, *times in cursor.fetchall()]

        return await self._database.autocommit(select)

    async def forget_old(self) -> None:
        """Removes decisions that nothing hangs on any more; see RETENTION_SECONDS."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                """
                DELETE FROM tx_decision
                WHERE decided_at < now() - make_interval(secs => %s)
                  AND (outcome = 'abort' OR done_at < now() - make_interval(secs => %s))
                """,
                (RETENTION_SECONDS, RETENTION_SECONDS),
            )
        )


def _existing_or_abort(cursor: Cursor, gid: str) -> Outcome:
    """What stands where an insert did nothing. Nothing may stand: the gid was too old, or the
    row that was in the way has just been removed for its age. Then it is an abort."""
    for _ in range(2):
        cursor.execute("SELECT outcome FROM tx_decision WHERE gid = %s", (gid,))
        if row := cursor.fetchone():
            return Outcome(row[0])
        cursor.execute(_ABORT, (gid,))
        if row := cursor.fetchone():
            return Outcome(row[0])
    raise AssertionError("a row is not removed for its age twice in a moment")
