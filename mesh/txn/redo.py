"""Redoes a branch that its database has lost, from the operations stored with the decision.

A branch is LOST when its decision says commit, and it is neither prepared nor recorded in
tx_branch as committed: a standby without it was promoted, a backup was restored, or an
operator rolled it back by hand. The second branch is committed then, so the redo may not fail
for what has changed meanwhile.

Guarantees:

- The operations take effect together, in one transaction of their database, or not at all.
- Each takes effect once, even if it was applied before or several processes redo it at the
  same time: the transaction consumes the gid, and operations are deduplicated by id.
- Operations that cannot be applied at all are refused with their reasons and left to a person.

Only the first participant is ever redone: the second one's branch is the decision.
docs/adr/0011-lost-branches-are-redone.md has the full argument.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import Aborted, MeshError
from mesh.postgres.database import UNIQUE_VIOLATION
from mesh.txn.model import (
    BUSY,
    DUPLICATE,
    Body,
    BranchLost,
    Operation,
    RedoRefused,
    Result,
    Vote,
    Yes,
)

MAX_REASONS = 16
"""How many operations a refusal names; it must fit into an error's metadata."""


class FirstBranches(Protocol):
    """The first participant, local or remote."""

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.commit`."""
        ...

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        """As `Participant.redo`, with the serialized operations of the decision."""
        ...


class KeptOperations(Protocol):
    """The decision log, local or remote."""

    async def operations(self, gid: str) -> bytes | None:
        """As `DecisionLog.operations`."""
        ...


async def commit_or_redo(
    first: FirstBranches, decisions: KeptOperations, gid: str, deadline: Deadline
) -> bool:
    """Makes the first branch of a decided transaction take effect. Returns whether it had to
    be redone.

    Idempotent. Raises RedoRefused, BranchLost if the decision has no operations to redo, and
    otherwise as `Participant.commit`.
    """
    try:
        await first.commit(gid, deadline)
        return False
    except MeshError as error:
        if error.reason != BranchLost.REASON:
            raise
        written = await decisions.operations(gid)
        if written is None:
            raise
    await first.redo(gid, written, deadline)
    return True


def redo(
    cursor: Cursor,
    begin: str,
    begin_values: tuple[int, str],
    operations: Sequence[Operation[Body]],
    apply: Callable[[Cursor, Sequence[Operation[Body]]], Sequence[Vote[Result]]],
) -> bool:
    """Applies the operations of a lost branch and commits. Returns False, and changes nothing,
    if the gid was already consumed.

    `begin` opens the transaction and consumes the gid, as for the branch. Raises RedoRefused
    and Aborted, after which nothing was changed.
    """
    try:
        cursor.execute(begin, begin_values)
    except psycopg2.Error as error:
        if error.pgcode != UNIQUE_VIOLATION:
            raise
        cursor.execute("ROLLBACK")
        return False
    votes = apply(cursor, operations)
    refused = {
        operation.id: vote.reason
        for operation, vote in zip(operations, votes, strict=True)
        if not isinstance(vote, Yes) and vote.reason != DUPLICATE
    }
    cursor.execute("ROLLBACK" if refused else "COMMIT")
    if refused:
        raise _refusal(refused)
    # In a transaction that failed earlier COMMIT succeeds, with the tag ROLLBACK.
    if cursor.statusmessage != "COMMIT":
        raise Aborted("The branch could not be redone.", reason="NOT_REDONE")
    return True


def _refusal(reasons: dict[str, str]) -> MeshError:
    if set(reasons.values()) == {BUSY}:
        return Aborted("Another transaction holds what a lost branch needs.", reason=BUSY)
    named = dict(list(reasons.items())[:MAX_REASONS])
    listed = ", ".join(f"{operation_id} {reason}" for operation_id, reason in named.items())
    return RedoRefused(
        f"{len(reasons)} operations of a lost branch cannot be done again: {listed}.",
        metadata=named,
    )
