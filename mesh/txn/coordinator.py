"""The side that decides: prepare first, prepare second, decide, commit in that order.

Invariant: a Commit is sent only for a gid whose decision to commit is durable, and
to the second participant only after the first has confirmed. So whatever dies and
whenever, both branches end alike, and who reads the second database before the
first never sees a second branch without its first.

Any number of recoverers may act on the same gids at the same time: the decision
log alone chooses, and all else is idempotent. What was decided is the answer, even
if a Commit's reply is lost: recovery finishes it.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from mesh.calls import ALL_INSTANCES_UNAVAILABLE
from mesh.deadlines import Deadline
from mesh.errors import Aborted, MeshError, ResourceExhausted, Unavailable
from mesh.txn.decisions import DecisionLog
from mesh.txn.words import BUSY, No, Operation, Outcome, Vote, Yes, new_gid

TRANSACTION_SECONDS = 10.0
ABORT_SECONDS = 2.0
COMMIT_SECONDS = 3.0
MAX_TRANSACTIONS = 16
MAX_WAITING = 4096
FIRST_PAUSE_SECONDS = 0.004
LONGEST_PAUSE_SECONDS = 0.1

log = structlog.get_logger()


class InDoubt(Unavailable):
    """It is not known yet whether the operation took effect."""

    REASON = "OUTCOME_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Work:
    """An operation in both databases. Work of one `player` is done in its order."""

    id: str
    player: str
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class Committed:
    """Both took effect, with what each participant answered."""

    first: object
    second: object


class ParticipantClient(Protocol):
    """A participant, wherever it is. Bodies and results are the participant's own types."""

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


class Coordinator:
    """Runs transactions over two participants."""

    def __init__(
        self,
        name: str,
        first: ParticipantClient,
        second: ParticipantClient,
        decisions: DecisionLog,
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._first = first
        self._second = second
        self._decisions = decisions
        self._clock = clock
        self._jitter = jitter
        self._slots = asyncio.Semaphore(MAX_TRANSACTIONS)
        self._turns: dict[str, asyncio.Task[Committed | No]] = {}
        self._waiting = 0
        self._done: set[str] = set()

    async def submit(self, work: Work, deadline: Deadline) -> Committed | No:
        """Does the work in both databases or in neither.

        Returns No when a participant refused it, which then changed nothing. Raises
        InDoubt and DeadlineExceeded when the outcome is not known, and
        ResourceExhausted when too much waits. A caller that goes away stops nothing.
        """
        if self._waiting >= MAX_WAITING:
            raise ResourceExhausted(
                "Too many pulls are waiting; repeat the call in a moment.",
                reason="COORDINATOR_BUSY",
                retry_after_seconds=1.0,
            )
        before = self._turns.get(work.player)
        task = asyncio.create_task(self._in_turn(before, work, deadline))
        self._turns[work.player] = task
        self._waiting += 1
        task.add_done_callback(lambda ended: self._leave(work.player, ended))
        return await asyncio.shield(task)

    def take_done(self) -> set[str]:
        """The gids whose branches this coordinator has seen commit since it was last asked."""
        done, self._done = self._done, set()
        return done

    def _leave(self, player: str, task: "asyncio.Task[Committed | No]") -> None:
        self._waiting -= 1
        if self._turns.get(player) is task:
            del self._turns[player]
        if not task.cancelled():
            task.exception()  # retrieved here too, for its caller may have gone away

    async def _in_turn(
        self, before: "asyncio.Task[Committed | No] | None", work: Work, deadline: Deadline
    ) -> Committed | No:
        if before is not None:
            await asyncio.wait([before], timeout=deadline.remaining_seconds())
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            deadline.check()
            async with self._slots:
                answer = await self._attempt(work, deadline.shortened_to(TRANSACTION_SECONDS))
            if answer is not None:
                return answer
            await asyncio.sleep(min(pause_seconds * self._jitter(), deadline.remaining_seconds()))
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    async def _attempt(self, work: Work, deadline: Deadline) -> Committed | No | None:
        """One transaction, under a gid of its own. None means: changed nothing, try again."""
        gid = new_gid(self._name, self._clock())
        vote = await self._prepare(self._first, gid, Operation(work.id, work.first), deadline)
        if not isinstance(vote, Yes):
            return _unless_busy(vote)
        first = vote.result
        vote = await self._prepare(self._second, gid, Operation(work.id, work.second), deadline)
        if not isinstance(vote, Yes):
            await self._abort(self._first, gid)
            return _unless_busy(vote)
        if await self._decide(gid, deadline) is Outcome.ABORT:
            await self._abort(self._first, gid)
            await self._abort(self._second, gid)
            return None
        await self._commit_both(gid)
        return Committed(first, vote.result)

    async def _prepare(
        self,
        participant: ParticipantClient,
        gid: str,
        operation: Operation[object],
        deadline: Deadline,
    ) -> Vote[object] | None:
        """The participant's vote; None when it may be tried again, with nothing prepared."""
        try:
            votes = await participant.prepare(gid, self._name, [operation], deadline)
        except Aborted:
            await self._abort_first_of(participant, gid)
            return None
        except MeshError as error:
            # The branch may exist: it is aborted here, or by recovery where that fails too.
            await self._abort(participant, gid)
            await self._abort_first_of(participant, gid)
            if _may_be_tried_again(error) and not deadline.is_over():
                return None
            raise
        return votes[0]

    async def _abort_first_of(self, failed: ParticipantClient, gid: str) -> None:
        """Aborts the branch that was prepared before the one that failed."""
        if failed is self._second:
            await self._abort(self._first, gid)

    async def _decide(self, gid: str, deadline: Deadline) -> Outcome:
        while True:
            try:
                return await self._decisions.decide(gid, Outcome.COMMIT)
            except MeshError as error:
                log.warning("fail_decision", gid=gid, reason=error.reason)
                if deadline.is_over():
                    raise InDoubt(
                        "The outcome is not known yet; repeat the call with the same request id."
                    ) from error
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)

    async def _commit_both(self, gid: str) -> None:
        """Commits in order. What fails here is left to recovery: the decision stands."""
        deadline = Deadline.after(COMMIT_SECONDS)
        try:
            await self._first.commit(gid, deadline)
            await self._second.commit(gid, deadline)
        except MeshError as error:
            log.warning("leave_commit_to_recovery", gid=gid, reason=error.reason)
            return
        self._done.add(gid)

    async def _abort(self, participant: ParticipantClient, gid: str) -> None:
        try:
            await participant.abort(gid, Deadline.after(ABORT_SECONDS))
        except MeshError as error:
            log.warning("leave_abort_to_recovery", gid=gid, reason=error.reason)


def _may_be_tried_again(error: MeshError) -> bool:
    """Whether another instance may do what this one could not."""
    return isinstance(error, Unavailable) and error.reason != ALL_INSTANCES_UNAVAILABLE


def _unless_busy(vote: Vote[object] | None) -> No | None:
    """A refusal that its caller is told of; a busy participant is asked again."""
    return vote if isinstance(vote, No) and vote.reason != BUSY else None
