"""One database's side of every transaction, built on PostgreSQL's prepared transactions.

Invariant: a gid has at most one branch, ever, and only Commit or Abort ends it. A crash at any
point leaves either a prepared branch, which recovery settles, or no trace.

A branch first inserts its gid into tx_branch, so the gid is consumed if and only if the branch
commits. Abort writes a tombstone there, so that a delayed Prepare is refused. The second
participant's branch decides for both (mesh/txn/decisions.py).

Expects the tables of `SCHEMA`, which each service's first migration has.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Generic

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted, InvalidArgument
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import UNIQUE_VIOLATION, Database
from mesh.postgres.missing_rows import with_missing_rows
from mesh.postgres.pipelined_cursor import PipelinedCursor
from mesh.postgres.pulse import Question
from mesh.txn.model import (
    FORGET_LIMIT,
    GID_MAX_AGE_SECONDS,
    MAX_LISTED,
    AlreadyCommitted,
    Body,
    Branch,
    BranchLost,
    GidExpired,
    GidUsed,
    NoPreparedSlot,
    Operation,
    Result,
    Vote,
    Yes,
    check_operations,
    gid_age_seconds,
)
from mesh.txn.redo import redo
from mesh.txn.retention import RETENTION_SECONDS, forget_old_gids

LOCK_TIMEOUT_MS = 200
_OLD_BRANCHES = """
FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, %s)
  AND prepared <= now() - make_interval(secs => %s) AND NOT pg_is_in_recovery()
"""
SETTLE_ATTEMPTS = 20
SETTLE_PAUSE_SECONDS = 0.01

_NO_SUCH_BRANCH = "42704"
_BRANCH_BUSY = "55000"
_ALREADY_PREPARED = "42710"
_NO_SLOT = "53200"
_PREPARING = "MarkAsPreparing"
"""The function of PostgreSQL that looks for a slot and for the gid."""
_GID_KEY = "tx_branch_pkey"

_BEGIN_BRANCH = "BEGIN; SET LOCAL lock_timeout = %s; INSERT INTO tx_branch (gid) VALUES (%s)"
_KEEP = "INSERT INTO tx_decision (gid, first_operations) VALUES (%s, %s)"

SCHEMA = """
CREATE TABLE tx_branch (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    aborted    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tx_branch_created_at ON tx_branch (created_at);
"""


class Participant(Generic[Body, Result]):
    """Prepares, commits and aborts the branches of one database."""

    def __init__(
        self,
        database: Database,
        name: str,
        apply: Callable[[Cursor, Sequence[Operation[Body]]], Sequence[Vote[Result]]],
        apply_again: Callable[[Cursor, Sequence[Operation[Body]]], Sequence[Vote[Result]]]
        | None = None,
        clock: Callable[[], float] = time.time,
        failpoint: Failpoint = no_failpoint,
        forget_limit: int = FORGET_LIMIT,
        decides: bool = False,
    ) -> None:
        """`apply` runs the operations' SQL inside the branch, at least one statement, and
        returns one vote for each, in order; it must not wait for locks. If a row that it must
        lock does not exist, it raises RowsMissing and is called again once the row does.
        `apply_again`, by default the same, does so for a redo, when it is too late to refuse
        what was voted for. `name` prefixes the gid in PostgreSQL, because the databases of
        several participants may share a server. `decides`: this is the second participant,
        whose branch is the decision."""
        self._database = database
        self._prefix = f"{name}/"
        self._apply = apply
        self._apply_again = apply_again or apply
        self._clock = clock
        self._forget_limit = forget_limit
        self._decides = decides
        self._has_faults = failpoint is not no_failpoint
        self._failpoint: Failpoint = lambda point: failpoint(f"{name}.{point}")

    async def prepare(
        self,
        gid: str,
        expires_at_seconds: float,
        operations: Sequence[Operation[Body]],
        first_operations: bytes | None = None,
    ) -> Sequence[Vote[Result]]:
        """Applies the operations that it can and prepares the branch. Returns one vote for
        each operation, in order.

        `first_operations` are kept with a branch that decides (mesh/txn/decisions.py). If no
        vote is Yes, there is no branch. Not idempotent. Raises GidUsed, GidExpired, LockTimeout
        and NoPreparedSlot; after these there is no branch. After any other error it is unknown
        whether there is one. For example:

            votes = await participant.prepare(gid, time.time() + 5.0, [Operation(pull_id, debit)])
            if isinstance(votes[0], Yes):
                await participant.commit(gid)  # once the decision to commit is durable
        """
        self._check(gid, expires_at_seconds, operations)
        if (first_operations is not None) is not self._decides:
            raise InvalidArgument.of_field("first_operations", "are kept by the second participant")
        return await self._database.autocommit(
            with_missing_rows(
                lambda cursor: self._prepare(cursor, gid, operations, first_operations)
            )
        )

    async def commit(self, gid: str) -> None:
        """Makes the branch take effect. Idempotent. Raises BranchLost."""
        await self._settle(lambda cursor: self._commit(cursor, gid))

    async def abort(self, gid: str) -> None:
        """Undoes the branch; a Prepare of this gid is refused from now on.

        Idempotent. Raises AlreadyCommitted, and LockTimeout while a Prepare of it runs.
        """
        await self._settle(lambda cursor: self._abort(cursor, gid))

    async def redo(self, gid: str, operations: Sequence[Operation[Body]]) -> None:
        """Redoes a branch that was lost after its decision, completely or not at all.

        Idempotent. Raises RedoRefused, Aborted and LockTimeout, after which nothing was
        changed, and BranchLost if the branch was aborted.
        """
        gid_age_seconds(gid, self._clock())
        check_operations(operations)
        if not await self._database.autocommit(
            with_missing_rows(
                lambda cursor: redo(
                    cursor, _BEGIN_BRANCH, (LOCK_TIMEOUT_MS, gid), operations, self._apply_again
                )
            )
        ):
            # The gid was consumed by its branch, by another redo, or by an Abort; commit()
            # succeeds after the first two and raises BranchLost after an Abort.
            await self.commit(gid)

    async def branches(self, min_age_seconds: float) -> list[Branch]:
        """The prepared branches of at least that age, oldest first, at most MAX_LISTED; empty
        on a standby."""

        def select(cursor: Cursor) -> list[Branch]:
            cursor.execute(
                f"SELECT gid, prepared {_OLD_BRANCHES} ORDER BY prepared LIMIT %s",
                (self._prefix, min_age_seconds, MAX_LISTED),
            )
            return [Branch(gid.removeprefix(self._prefix), at) for gid, at in cursor.fetchall()]

        return await self._database.autocommit(select)

    def question(self, min_age_seconds: float) -> Question:
        """Whether `branches` of that age would list any."""
        return Question(f"EXISTS (SELECT {_OLD_BRANCHES})", (self._prefix, min_age_seconds))

    def forgettable_before(self) -> datetime:
        """A gid whose branch began before this time may be removed now."""
        return datetime.fromtimestamp(self._clock() - RETENTION_SECONDS, UTC)

    async def forget_old_gids(self, before: datetime, open_gids: Collection[str]) -> None:
        """As `mesh.txn.retention.forget_old_gids`, at most `forget_limit` in a transaction."""
        await forget_old_gids(
            self._database, before, open_gids, decides=self._decides, limit=self._forget_limit
        )

    def _check(
        self, gid: str, expires_at_seconds: float, operations: Sequence[Operation[Body]]
    ) -> None:
        now = self._clock()
        age_seconds = gid_age_seconds(gid, now)
        if abs(age_seconds) > GID_MAX_AGE_SECONDS or expires_at_seconds <= now:
            raise GidExpired(f"The gid is {age_seconds:.1f} s old, or its coordinator gave up.")
        check_operations(operations)

    def _prepare(
        self,
        cursor: Cursor,
        gid: str,
        operations: Sequence[Operation[Body]],
        first_operations: bytes | None,
    ) -> Sequence[Vote[Result]]:
        self._failpoint("before_branch")
        with cursor.connection.cursor(cursor_factory=PipelinedCursor) as opening:
            opening.keep(_BEGIN_BRANCH, (LOCK_TIMEOUT_MS, gid))
            if first_operations is not None:
                opening.keep(_KEEP, (gid, first_operations))
            return self._prepare_open(opening, gid, operations)

    def _prepare_open(
        self, cursor: PipelinedCursor, gid: str, operations: Sequence[Operation[Body]]
    ) -> Sequence[Vote[Result]]:
        try:
            votes = self._apply(cursor, operations)
        except psycopg2.Error as error:
            if error.pgcode == UNIQUE_VIOLATION and error.diag.constraint_name == _GID_KEY:
                raise GidUsed.refused() from error
            raise
        assert len(votes) == len(operations), "one vote for each operation"
        if not any(isinstance(vote, Yes) for vote in votes):
            cursor.execute("ROLLBACK")
            return votes
        if self._has_faults:
            # The operations are applied before the point, though it costs a message.
            cursor.flush()
        self._failpoint("before_prepare")
        try:
            cursor.execute("PREPARE TRANSACTION %s", (self._prefix + gid,))
        except psycopg2.Error as error:
            # The last statements of the operations came in the same message.
            if error.diag.source_function != _PREPARING:
                raise
            if error.pgcode == _ALREADY_PREPARED:
                raise GidUsed.refused() from error
            if error.pgcode == _NO_SLOT:
                raise NoPreparedSlot.refused() from error
            raise
        # In a transaction that failed earlier PREPARE succeeds, with the tag ROLLBACK.
        if cursor.statusmessage != "PREPARE TRANSACTION":
            raise Aborted("The branch could not be prepared.", reason="NOT_PREPARED")
        self._failpoint("after_prepare")
        return votes

    async def _settle(self, work: Callable[[Cursor], bool]) -> None:
        """Repeats `work` while another session settles the same branch."""
        for _ in range(SETTLE_ATTEMPTS):
            if await self._database.autocommit(work):
                return
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)
        raise Aborted("Another session is settling the branch.", reason="BRANCH_BUSY")

    def _commit(self, cursor: Cursor, gid: str) -> bool:
        self._failpoint("before_commit")
        try:
            cursor.execute("COMMIT PREPARED %s", (self._prefix + gid,))
            self._failpoint("after_commit")
            return True
        except psycopg2.Error as error:
            if error.pgcode == _BRANCH_BUSY:
                return False
            if error.pgcode != _NO_SUCH_BRANCH:
                raise
        if self._aborted(cursor, gid) is not False:
            raise BranchLost(f"The branch of {gid} is not prepared and was not committed.")
        return True

    def _abort(self, cursor: Cursor, gid: str) -> bool:
        self._failpoint("before_abort")
        try:
            cursor.execute("ROLLBACK PREPARED %s", (self._prefix + gid,))
        except psycopg2.Error as error:
            if error.pgcode == _BRANCH_BUSY:
                return False
            if error.pgcode != _NO_SUCH_BRANCH:
                raise
        self._failpoint("before_tombstone")
        cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        cursor.execute(
            "INSERT INTO tx_branch (gid, aborted) VALUES (%s, true) ON CONFLICT DO NOTHING", (gid,)
        )
        cursor.execute("COMMIT")
        if self._aborted(cursor, gid) is False:
            raise AlreadyCommitted(f"The branch of {gid} has been committed.")
        self._failpoint("after_abort")
        return True

    def _aborted(self, cursor: Cursor, gid: str) -> bool | None:
        """True: tx_branch has the gid as aborted; False: as committed; None: it has no row."""
        cursor.execute("SELECT aborted FROM tx_branch WHERE gid = %s", (gid,))
        row = cursor.fetchone()
        return None if row is None else bool(row[0])
