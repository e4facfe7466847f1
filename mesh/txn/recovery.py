"""Settles what a crash left behind; runs in every instance, at start and every second.

Nobody rolls back by age alone: an old branch is a reason to ask for the outcome,
and asking forces one. Acting twice, or at the same time as others, changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from mesh.deadlines import Deadline
from mesh.errors import MeshError, Unavailable
from mesh.failpoints import Reach, unharmed
from mesh.txn.coordinator import Coordinator, ParticipantClient
from mesh.txn.decisions import DecisionLog
from mesh.txn.participant import Participant
from mesh.txn.words import RECOVERY_AGE_SECONDS, BranchLost, Outcome

INTERVAL_SECONDS = 1.0
STEP_SECONDS = 3.0
ROUNDS_BETWEEN_CLEANUPS = 600

Resolve = Callable[[str], Awaitable[Outcome]]
log = structlog.get_logger()


class BranchRecovery:
    """Settles the old branches of one participant's database."""

    def __init__(
        self,
        participant: Participant[Any, Any],
        resolve: Resolve,
        *,
        commits: bool,
        min_age_seconds: float = RECOVERY_AGE_SECONDS,
        reach: Reach = unharmed,
    ) -> None:
        """`commits` is for the first participant. The second leaves commits to
        `DecisionRecovery`, which keeps the order of the two."""
        self._participant = participant
        self._resolve = resolve
        self._commits = commits
        self._min_age_seconds = min_age_seconds
        self._reach = reach
        self._rounds = 0

    async def run_once(self) -> None:
        """Settles every branch that is old enough; one that cannot be holds up no other.
        Raises Unavailable when something is away."""
        for branch in await self._participant.branches(self._min_age_seconds):
            try:
                await self._settle(branch.gid)
            except MeshError as error:
                if isinstance(error, Unavailable):
                    raise
                log.error("fail_branch_recovery", gid=branch.gid, reason=error.reason)
        if self._rounds % ROUNDS_BETWEEN_CLEANUPS == 0:
            await self._participant.forget_old_gids()
        self._rounds += 1

    async def _settle(self, gid: str) -> None:
        self._reach("recovery.before_resolve")
        outcome = await self._resolve(gid)
        self._reach("recovery.after_resolve")
        if outcome is Outcome.ABORT:
            await self._participant.abort(gid)
        elif self._commits:
            await self._participant.commit(gid)
        else:
            return
        log.info("recover_branch", gid=gid, outcome=outcome.value)


class DecisionRecovery:
    """Finishes the transactions that were decided, in the coordinator's order."""

    def __init__(
        self,
        coordinator: Coordinator,
        decisions: DecisionLog,
        first: ParticipantClient,
        second: ParticipantClient,
        *,
        min_age_seconds: float = RECOVERY_AGE_SECONDS,
        reach: Reach = unharmed,
    ) -> None:
        self._coordinator = coordinator
        self._decisions = decisions
        self._first = first
        self._second = second
        self._min_age_seconds = min_age_seconds
        self._reach = reach
        self._rounds = 0

    async def run_once(self) -> None:
        """Commits what was decided and is not known to be done; what cannot be holds up
        nothing else. Raises Unavailable when something is away."""
        done = self._coordinator.take_done()
        try:
            for gid in await self._decisions.unfinished(self._min_age_seconds):
                if gid not in done and await self._finish(gid):
                    done.add(gid)
        finally:
            if done:
                self._reach("recovery.before_done")
                await self._decisions.mark_done(done)
        if self._rounds % ROUNDS_BETWEEN_CLEANUPS == 0:
            await self._decisions.forget_old()
        self._rounds += 1

    async def _finish(self, gid: str) -> bool:
        try:
            self._reach("recovery.before_commits")
            await self._first.commit(gid, Deadline.after(STEP_SECONDS))
            self._reach("recovery.between_commits")
            await self._second.commit(gid, Deadline.after(STEP_SECONDS))
        except MeshError as error:
            if isinstance(error, Unavailable):
                raise
            event = "lose_branch" if error.reason == BranchLost.REASON else "fail_decision_recovery"
            log.error(event, gid=gid, reason=error.reason, message=error.message)
            return False
        log.info("recover_decision", gid=gid)
        return True


async def keep_recovering(*rounds: Callable[[], Awaitable[None]]) -> None:
    """Runs each of `rounds` now and every second, until cancelled; errors are logged."""
    while True:
        for run_once in rounds:
            try:
                await run_once()
            except MeshError as error:
                log.warning("fail_recovery", reason=error.reason)
            except Exception as error:
                log.error("fail_recovery", exc_info=error)
        await asyncio.sleep(INTERVAL_SECONDS)
