"""The coordinator: prepare both, commit the second, commit the first.

The commit of the second branch, in the coordinator's own database, is the decision
(mesh/txn/decisions.py). Invariant: the first branch is committed only after the second is
durably committed, and aborted only after the second can never be. Both branches therefore end
alike, whichever process dies at any point. A reader that reads the first database before the
second never sees a first branch without its second.

Any number of recoverers may act on the same gids at the same time: only the second branch
chooses the outcome, and everything else is idempotent. The decision is the answer even if the
first Commit's reply is lost; recovery finishes the transaction.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mesh.deadlines import Deadline
from mesh.errors import InDoubt, MeshError
from mesh.failpoints import Failpoint, no_failpoint
from mesh.txn.branches import Branches
from mesh.txn.local.screening import Screening
from mesh.txn.model import BranchLost, Operation, Outcome, new_gid, random_token
from mesh.txn.sides import (
    Answer,
    DecidingParticipantClient,
    FirstParticipantClient,
    OperationPair,
)

COMMIT_SECONDS = 3.0
DECIDE_PAUSE_SECONDS = 0.1
"""Before a decision whose outcome is unknown is repeated."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The answers of one transaction, by operation id. `was_aborted`: by its decision."""

    answers: Mapping[str, Answer]
    was_aborted: bool = False


class Coordinator:
    """Runs a batch of operations as one transaction over two participants."""

    def __init__(
        self,
        name: str,
        first: FirstParticipantClient,
        second: DecidingParticipantClient,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        screening: Screening | None = None,
        count_restart: Callable[[], None] = lambda: None,
        failpoint: Failpoint = no_failpoint,
        token: Callable[[], str] = random_token,
    ) -> None:
        """`name` is the instance's name, the first part of its gids; `clock` returns the time
        in them, `token` the last part. `timer` counts seconds. `count_restart` is called for
        each transaction that starts over because others in its batch were refused."""
        self._name = name
        self._first = first
        self._second = second
        self._clock = clock
        self._failpoint = failpoint
        self._token = token
        self._screening = screening or Screening()
        self._branches = Branches(first, second, self._screening, count_restart, failpoint, timer)
        self._done: set[str] = set()

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> Mapping[str, Answer]:
        """Applies each operation of the batch in both databases or in neither. Returns the
        answers by operation id.

        A No is a participant's refusal of that operation, which then changed nothing; after a
        No with BUSY it may be tried again. The others go on without it; they start over under
        a new gid if the second participant refused it, or if both sides prepared at the same
        time. Raises InDoubt if it is unknown whether the batch took effect, and a participant's
        MeshError if none of it did. For example:

            pair = OperationPair(pull_id, user_id, first=debit, second=draw)
            answer = (await coordinator.run([pair], Deadline.after(5.0)))[pull_id]
            if isinstance(answer, Committed):
                balance, items = answer.first, answer.second
        """
        seconds = [Operation(pair.id, pair.second) for pair in batch]
        answers: dict[str, Answer] = dict(await self._screening.refused(seconds, deadline))
        pending = [pair for pair in batch if pair.id not in answers]
        abort_count = 0
        while pending:
            attempt = await self._attempt(pending, deadline)
            answers.update(attempt.answers)
            abort_count += attempt.was_aborted
            # An operation without an answer lost its transaction to another operation's
            # refusal, or to a recoverer that forced an abort.
            pending = [pair for pair in pending if pair.id not in answers]
            if pending:
                deadline.check()
            if pending and abort_count > 1:
                await asyncio.sleep(DECIDE_PAUSE_SECONDS)
        return answers

    @property
    def has_done(self) -> bool:
        """Whether `take_done` would return any."""
        return bool(self._done)

    def take_done(self) -> set[str]:
        """Returns and clears the gids whose branches have both committed since the last call."""
        done, self._done = self._done, set()
        return done

    async def _attempt(self, batch: Sequence[OperationPair], deadline: Deadline) -> "_Attempt":
        """Runs one transaction under a new gid. Operations without an answer changed nothing."""
        gid = new_gid(self._name, self._clock(), self._token)
        prepared = await self._branches.prepare(gid, batch, deadline)
        if not prepared.results:
            return _Attempt(prepared.refused)
        if await self._decide(gid, deadline) is Outcome.ABORT:
            await self._branches.abort(gid)
            return _Attempt(prepared.refused, was_aborted=True)
        await self._commit_first(gid)
        return _Attempt({**prepared.refused, **prepared.results})

    async def _decide(self, gid: str, deadline: Deadline) -> Outcome:
        """Commits the second branch. Raises InDoubt if it is unknown whether it has."""
        while True:
            try:
                self._failpoint("coordinator.before_decision")
                await self._second.commit(gid, Deadline.after(COMMIT_SECONDS))
                self._failpoint("coordinator.after_decision")
                return Outcome.COMMIT
            except MeshError as error:
                if error.reason == BranchLost.REASON:
                    return Outcome.ABORT
                log.warning("fail_decision", gid=gid, reason=error.reason)
                if deadline.is_over():
                    raise InDoubt from error
                await asyncio.sleep(DECIDE_PAUSE_SECONDS)

    async def _commit_first(self, gid: str) -> None:
        """After a failure recovery finishes it: the decision stands."""
        try:
            await self._first.commit(gid, Deadline.after(COMMIT_SECONDS))
            self._failpoint("coordinator.after_commits")
        except MeshError as error:
            log.warning("leave_commit_to_recovery", gid=gid, reason=error.reason)
            return
        self._done.add(gid)
