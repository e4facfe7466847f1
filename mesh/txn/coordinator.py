"""The coordinator: prepare first, prepare second, decide, commit first, commit second.

Invariant: a Commit is sent only for a gid whose decision to commit is durable, and to the
second participant only after the first has confirmed. Both branches therefore end alike,
whichever process dies at any point. A reader that reads the second database before the first
never sees a second branch without its first.

The second participant's refusals come after the first has prepared, so they make the others
start over. After one, batches are screened for a while (mesh/txn/local/screening.py).

Any number of recoverers may act on the same gids at the same time: only the decision log
chooses the outcome, and everything else is idempotent. The decision is the answer even if a
Commit's reply is lost; recovery finishes the transaction.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from mesh.deadlines import Deadline
from mesh.errors import InDoubt, MeshError
from mesh.failpoints import Failpoint, no_failpoint
from mesh.txn.decisions import DecisionLog
from mesh.txn.local.screening import Screening
from mesh.txn.model import BranchLost, No, Operation, Outcome, Vote, Yes, new_gid, random_token

ABORT_SECONDS = 2.0
COMMIT_SECONDS = 3.0
DECIDE_PAUSE_SECONDS = 0.1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OperationPair:
    """One operation on both databases: the first and the second participant's part, under one
    id. A batch has at most one operation of an `owner`."""

    id: str
    owner: str
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class Committed:
    """Both parts took effect. `first` and `second` are the participants' results."""

    first: object
    second: object


Answer = Committed | No


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The answers of one transaction, by operation id. `was_aborted`: by its decision."""

    answers: Mapping[str, Answer]
    was_aborted: bool = False


class ParticipantClient(Protocol):
    """A local or remote participant. Bodies and results are the participant's own types."""

    async def prepare(
        self,
        gid: str,
        coordinator: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        """As `Participant.prepare`; the branch expires with the deadline."""
        ...

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.commit`."""
        ...

    async def abort(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.abort`."""
        ...


class FirstParticipantClient(ParticipantClient, Protocol):
    """The participant that commits first. A lost branch of it is redone."""

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        """The operations, serialized for the decision log."""
        ...

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        """As `Participant.redo`, with operations serialized by `written`."""
        ...


class Coordinator:
    """Runs a batch of operations as one transaction over two participants."""

    def __init__(
        self,
        name: str,
        first: FirstParticipantClient,
        second: ParticipantClient,
        decisions: DecisionLog,
        *,
        clock: Callable[[], float] = time.time,
        check_clock: Callable[[], None] = lambda: None,
        screening: Screening | None = None,
        count_restart: Callable[[], None] = lambda: None,
        failpoint: Failpoint = no_failpoint,
        token: Callable[[], str] = random_token,
    ) -> None:
        """`name` is the instance's name, the first part of its gids; `token` returns the last
        part. `check_clock` raises DatabaseClockDiffers if the decision log would refuse every
        gid that is made by `clock`. `count_restart` is called for each transaction that
        starts over because of the second participant's refusals."""
        self._name = name
        self._first = first
        self._second = second
        self._decisions = decisions
        self._clock = clock
        self._check_clock = check_clock
        self._failpoint = failpoint
        self._token = token
        self._screening = screening or Screening()
        self._count_restart = count_restart
        self._done: set[str] = set()

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> Mapping[str, Answer]:
        """Applies each operation of the batch in both databases or in neither. Returns the
        answers by operation id.

        A No is a participant's refusal of that operation, which then changed nothing; after a
        No with BUSY it may be tried again. If the second participant refuses an operation, the
        others start over without it, under a new gid. Raises InDoubt if it is unknown whether
        the batch took effect. Raises DatabaseClockDiffers or a participant's MeshError if none
        of it did. For example:

            pair = OperationPair(pull_id, user_id, first=debit, second=draw)
            answer = (await coordinator.run([pair], Deadline.after(5.0)))[pull_id]
            if isinstance(answer, Committed):
                balance, items = answer.first, answer.second
        """
        seconds = [Operation(pair.id, pair.second) for pair in batch]
        answers: dict[str, Answer] = dict(await self._screening.refused(seconds))
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
        self._check_clock()
        gid = new_gid(self._name, self._clock(), self._token)
        operations = [Operation(pair.id, pair.first) for pair in batch]
        firsts = await self._prepare(self._first, gid, operations, deadline)
        refused = _refusals(firsts)
        accepted = [pair for pair in batch if pair.id not in refused]
        if not accepted:
            return _Attempt(refused)
        first_operations = self._first.written(
            [each for each in operations if each.id not in refused]
        )
        operations = [Operation(pair.id, pair.second) for pair in accepted]
        try:
            self._failpoint("coordinator.between_prepares")
            seconds = await self._prepare(self._second, gid, operations, deadline)
        except MeshError:
            await self._abort(self._first, gid)
            raise
        if held_back := _refusals(seconds):
            self._screening.begin()
            await self._abort_both(gid)
            if len(held_back) < len(accepted):
                self._count_restart()
            return _Attempt({**refused, **held_back})
        if await self._decide(gid, first_operations, deadline) is Outcome.ABORT:
            await self._abort_both(gid)
            return _Attempt(refused, was_aborted=True)
        await self._commit_both(gid)
        committed = {
            pair.id: Committed(_result(firsts, pair), _result(seconds, pair)) for pair in accepted
        }
        return _Attempt({**refused, **committed})

    async def _prepare(
        self,
        participant: ParticipantClient,
        gid: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Mapping[str, Vote[object]]:
        try:
            votes = await participant.prepare(gid, self._name, operations, deadline)
        except MeshError:
            # The branch may exist: abort it here; if that fails too, recovery does.
            await self._abort(participant, gid)
            raise
        return {operation.id: vote for operation, vote in zip(operations, votes, strict=True)}

    async def _decide(self, gid: str, first_operations: bytes, deadline: Deadline) -> Outcome:
        while True:
            try:
                self._failpoint("coordinator.before_decision")
                outcome = await self._decisions.decide(gid, Outcome.COMMIT, first_operations)
                self._failpoint("coordinator.after_decision")
                return outcome
            except MeshError as error:
                log.warning("fail_decision", gid=gid, reason=error.reason)
                if deadline.is_over():
                    raise InDoubt from error
                await asyncio.sleep(DECIDE_PAUSE_SECONDS)

    async def _commit_both(self, gid: str) -> None:
        """Commits in order. After a failure recovery finishes it: the decision stands.

        Raises InDoubt if the first branch is lost, because a redo may be refused.
        """
        deadline = Deadline.after(COMMIT_SECONDS)
        try:
            await self._first.commit(gid, deadline)
            self._failpoint("coordinator.between_commits")
            await self._second.commit(gid, deadline)
            self._failpoint("coordinator.after_commits")
        except MeshError as error:
            log.warning("leave_commit_to_recovery", gid=gid, reason=error.reason)
            if error.reason == BranchLost.REASON:
                raise InDoubt from error
            return
        self._done.add(gid)

    async def _abort_both(self, gid: str) -> None:
        await self._abort(self._first, gid)
        await self._abort(self._second, gid)

    async def _abort(self, participant: ParticipantClient, gid: str) -> None:
        try:
            await participant.abort(gid, Deadline.after(ABORT_SECONDS))
        except MeshError as error:
            log.warning("leave_abort_to_recovery", gid=gid, reason=error.reason)


def _refusals(votes: Mapping[str, Vote[object]]) -> dict[str, Answer]:
    return {pair_id: vote for pair_id, vote in votes.items() if isinstance(vote, No)}


def _result(votes: Mapping[str, Vote[object]], pair: OperationPair) -> object:
    vote = votes[pair.id]
    assert isinstance(vote, Yes), "what was committed was voted for"
    return vote.result
