"""The decision log: the only place where the outcome of a transaction is chosen.

Invariant: a gid has at most one row in tx_decision, and the row never changes its outcome.
Live coordinators (which want commit) and recoverers (which want abort) race by inserting. The
unique key picks the winner, and both act on the stored outcome. A row is removed only after
both branches are done and long after its gid could be in use.

Until a decision to commit is done, it keeps the first participant's operations;
mesh/txn/redo.py says why.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.bounded_deletes import delete_in_batches
from mesh.postgres.database import Database
from mesh.postgres.pulse import Question
from mesh.txn.model import FORGET_LIMIT, Outcome, gid_made_at_seconds

RETENTION_SECONDS = 3600
"""How long a row is kept after its last use: an abort after it was decided, a commit after
both branches were done. Later messages find no row and do no harm:

- *A decision to commit* by a coordinator that was suspended is refused, because of
  DECIDABLE_SECONDS. The age of the gid and the removal of rows use the same clock, the
  database's. A gid whose abort was removed could be committed only if its coordinator's clock
  were ahead of that clock by RETENTION_SECONDS - DECIDABLE_SECONDS, 59 minutes.
- *Resolve* inserts an abort. If the gid was aborted or never decided, this is the same
  outcome as before; a database that was down for a day resolves its branches this way. If the
  gid was committed, both branches have ended. Only a caller that saw the branch before that can
  act on the abort, and its Abort is refused with ALREADY_COMMITTED.
- *Commit and Abort* do not read the log.
"""
DECIDABLE_SECONDS = 60
"""An older gid can no longer be committed. This is far above the duration of a transaction (a
Prepare is refused after 30 s, a transaction is abandoned after 10 s) and far below
RETENTION_SECONDS.
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
_UNFINISHED = """
FROM tx_decision WHERE outcome = 'commit' AND done_at IS NULL
  AND decided_at <= now() - make_interval(secs => %s) AND NOT pg_is_in_recovery()
"""
_ABORT = """
INSERT INTO tx_decision (gid, outcome) VALUES (%s, 'abort')
ON CONFLICT DO NOTHING RETURNING outcome
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision for a gid. `done_at`: when both branches were known to have committed."""

    gid: str
    outcome: Outcome
    decided_at: datetime
    done_at: datetime | None


class LogPosition(NamedTuple):
    """The position of a decision in the order of decisions."""

    decided_at: datetime
    gid: str


BEGINNING = LogPosition(datetime.min.replace(tzinfo=UTC), "")


class DecisionLog:
    """The decisions in the coordinator's database."""

    def __init__(
        self,
        database: Database,
        *,
        max_listed: int = MAX_LISTED,
        forget_limit: int = FORGET_LIMIT,
    ) -> None:
        self._database = database
        self._forget_limit = forget_limit
        self.max_listed = max_listed
        """The maximum length of a list of decisions."""

    async def decide(
        self, gid: str, wanted: Outcome, first_operations: bytes | None = None
    ) -> Outcome:
        """Writes the decision unless there is one already, and returns the stored outcome.

        `first_operations` are stored with a commit. A gid that is too old to be committed is
        aborted. The outcome is durable when this returns. Idempotent. After an error the
        stored outcome is unknown: call it again, with either outcome. Raises InvalidArgument
        if the gid is malformed.
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
        """Forces and returns the outcome: abort unless there is a decision. Idempotent."""
        return await self.decide(gid, Outcome.ABORT)

    async def operations(self, gid: str) -> bytes | None:
        """The first participant's operations of a transaction that is decided to commit; None
        if it is not decided to commit, or is known to be done."""

        def select(cursor: Cursor) -> bytes | None:
            cursor.execute("SELECT first_operations FROM tx_decision WHERE gid = %s", (gid,))
            row = cursor.fetchone()
            return None if row is None or row[0] is None else bytes(row[0])

        return await self._database.autocommit(select)

    async def mark_done(self, gids: Collection[str]) -> None:
        """Records that both branches of these gids have taken effect. Idempotent."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                "UPDATE tx_decision SET done_at = now(), first_operations = NULL"
                " WHERE gid = ANY(%s) AND outcome = 'commit' AND done_at IS NULL",
                (sorted(gids),),
            )
        )

    async def unfinished(
        self, min_age_seconds: float, after: LogPosition = BEGINNING
    ) -> list[LogPosition]:
        """The decisions to commit after `after` that are not known to be done, oldest first;
        at most `max_listed`. Empty on a standby."""

        def select(cursor: Cursor) -> list[LogPosition]:
            cursor.execute(
                f"SELECT decided_at, gid {_UNFINISHED} AND (decided_at, gid) > (%s, %s)"
                " ORDER BY decided_at, gid LIMIT %s",
                (min_age_seconds, *after, self.max_listed),
            )
            return [LogPosition(*row) for row in cursor.fetchall()]

        return await self._database.autocommit(select)

    async def open_gids(self) -> list[str]:
        """The gids decided to commit that are not known to be done, oldest first; at most
        `max_listed`."""
        return [decision.gid for decision in await self.list_decisions([])]

    async def list_decisions(self, gids: Collection[str]) -> list[Decision]:
        """The decisions of these gids, and the oldest `max_listed` commits that are not known
        to be done; oldest first. Decides nothing."""

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
        """Removes decisions that are no longer needed; see RETENTION_SECONDS. At most
        `forget_limit` in a transaction, so that each makes progress."""
        statement = """
        DELETE FROM tx_decision WHERE gid = ANY(ARRAY(
            SELECT gid FROM tx_decision
            WHERE decided_at < now() - make_interval(secs => %s)
              AND (outcome = 'abort' OR done_at < now() - make_interval(secs => %s))
            LIMIT %s FOR UPDATE SKIP LOCKED))
        """
        values = (RETENTION_SECONDS, RETENTION_SECONDS)
        await delete_in_batches(self._database, statement, values, self._forget_limit)


def unfinished_question(min_age_seconds: float) -> Question:
    """Whether `DecisionLog.unfinished` of that age would list any."""
    return Question(f"EXISTS (SELECT {_UNFINISHED})", (min_age_seconds,))


def _existing_or_abort(cursor: Cursor, gid: str) -> Outcome:
    """The stored outcome after an insert that did nothing. If there is no row, because the gid
    was too old or the conflicting row has just been removed, this inserts an abort."""
    for _ in range(2):
        cursor.execute("SELECT outcome FROM tx_decision WHERE gid = %s", (gid,))
        if row := cursor.fetchone():
            return Outcome(row[0])
        cursor.execute(_ABORT, (gid,))
        if row := cursor.fetchone():
            return Outcome(row[0])
    raise AssertionError("a row is not removed for its age twice in a moment")
