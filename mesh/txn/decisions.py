"""The decisions: the outcome of a transaction is that of the second participant's branch.

That participant's database is the coordinator's own. Its branch decides: the transaction is
committed when that branch is, and aborted when that branch has ended without effect and its gid
has a tombstone. So PostgreSQL chooses the outcome. A coordinator that commits the branch and
recoverers that roll it back may race; one of them finds that it is gone, and tx_branch says how
it ended.

The branch holds a row of tx_decision, with the first participant's operations. The row appears
with the decision to commit, and is removed when the first branch has been committed as well.
mesh/txn/redo.py says what the operations are for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.postgres.pulse import Question
from mesh.txn.model import MAX_LISTED, AlreadyCommitted, Outcome, gid_made_at_seconds

SCHEMA = """
CREATE TABLE tx_decision (
    gid              text PRIMARY KEY,
    decided_at       timestamptz NOT NULL DEFAULT now(),
    first_operations bytea NOT NULL
);
-- To press together what is gone in a moment costs more than to write it.
ALTER TABLE tx_decision ALTER first_operations SET STORAGE EXTERNAL;
CREATE INDEX tx_decision_decided_at ON tx_decision (decided_at, gid);
"""

_UNFINISHED = """
FROM tx_decision
WHERE decided_at <= now() - make_interval(secs => %s) AND NOT pg_is_in_recovery()
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of a gid. `decided_at`: when its branch began, by the database's clock.
    `is_open`: decided to commit, and the first branch is not known to be committed."""

    gid: str
    outcome: Outcome
    decided_at: datetime
    is_open: bool


class LogPosition(NamedTuple):
    """The position of a decision in the order of decisions."""

    decided_at: datetime
    gid: str


BEGINNING = LogPosition(datetime.min.replace(tzinfo=UTC), "")


class DecidingBranches(Protocol):
    """The second participant: `mesh.txn.participant.Participant`."""

    async def abort(self, gid: str) -> None:
        """As `Participant.abort`."""
        ...


class DecisionLog:
    """The decisions in the coordinator's database."""

    def __init__(
        self, database: Database, branches: DecidingBranches, *, max_listed: int = MAX_LISTED
    ) -> None:
        self._database = database
        self._branches = branches
        self.max_listed = max_listed
        """The maximum length of a list of decisions."""

    async def resolve(self, gid: str) -> Outcome:
        """Forces and returns the outcome: abort, unless the deciding branch is committed.

        The outcome is durable when this returns. Idempotent. Raises LockTimeout and Aborted
        while a Prepare or another end of that branch is under way, and InvalidArgument if the
        gid is malformed.

        A gid whose row was forgotten is aborted. If it had been committed, both branches have
        ended, and the Abort of a caller that saw one before is refused with ALREADY_COMMITTED.
        """
        gid_made_at_seconds(gid)
        try:
            await self._branches.abort(gid)
        except AlreadyCommitted:
            return Outcome.COMMIT
        return Outcome.ABORT

    async def operations(self, gid: str) -> bytes | None:
        """The first participant's operations of a transaction that is decided to commit; None
        if it is not decided to commit, or is known to be done."""

        def select(cursor: Cursor) -> bytes | None:
            cursor.execute("SELECT first_operations FROM tx_decision WHERE gid = %s", (gid,))
            row = cursor.fetchone()
            return None if row is None else bytes(row[0])

        return await self._database.autocommit(select)

    async def mark_done(self, gids: Collection[str]) -> None:
        """Records that both branches of these gids have taken effect. Idempotent."""
        await self._database.autocommit(
            lambda cursor: cursor.execute(
                "DELETE FROM tx_decision WHERE gid = ANY(%s)", (sorted(gids),)
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
            # One array of gids is found by index; two conditions would read all of tx_branch.
            cursor.execute(
                """
                SELECT gid, aborted, created_at, decision.gid IS NOT NULL
                FROM tx_branch LEFT JOIN tx_decision AS decision USING (gid)
                WHERE gid = ANY(ARRAY(
                    SELECT gid FROM tx_decision ORDER BY decided_at, gid LIMIT %s
                ) || %s::text[])
                ORDER BY created_at, gid
                """,
                (self.max_listed, list(gids)),
            )
            return [
                Decision(gid, Outcome.ABORT if is_aborted else Outcome.COMMIT, at, is_open)
                for gid, is_aborted, at, is_open in cursor.fetchall()
            ]

        return await self._database.autocommit(select)


def unfinished_question(min_age_seconds: float) -> Question:
    """Whether `DecisionLog.unfinished` of that age would list any."""
    return Question(f"EXISTS (SELECT {_UNFINISHED})", (min_age_seconds,))
