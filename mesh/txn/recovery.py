"""Settles transactions that a crash interrupted. Runs in every instance: at start, each
second while a question says that something may be unsettled, and every ten seconds in any case.

A branch is never rolled back because of its age alone. For an old branch, recovery resolves
the gid, which forces an outcome: it ends the second branch unless that is committed. Repeated
and concurrent recovery changes nothing.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from mesh.deadlines import Deadline
from mesh.errors import Aborted, DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.pulse import Question
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import BEGINNING, DecisionLog, unfinished_question
from mesh.txn.model import MAX_LISTED, RECOVERY_AGE_SECONDS, BranchLost, Outcome
from mesh.txn.participant import Participant
from mesh.txn.redo import commit_or_redo
from mesh.txn.sides import FirstParticipantClient

FINISH_SECONDS = 3.0
ROUNDS_BETWEEN_CLEANUPS = 60
"""A round comes each second to every ten seconds (`mesh.rounds.Due`)."""

MAX_ALARMS = 20
"""How many transactions a round logs as errors by gid; beyond that it logs their number."""

log = structlog.get_logger()

_AWAY = (Unavailable, DeadlineExceeded, ResourceExhausted)


class Outcomes(Protocol):
    """The decision log, local or remote."""

    async def resolve(self, gid: str) -> Outcome:
        """As `DecisionLog.resolve`."""
        ...

    async def open_gids(self) -> Sequence[str]:
        """As `DecisionLog.open_gids`."""
        ...


class BranchRecovery:
    """Settles the old branches of one participant's database."""

    def __init__(
        self,
        participant: Participant[Any, Any],
        outcomes: Outcomes,
        *,
        follows: bool,
        min_age_seconds: float = RECOVERY_AGE_SECONDS,
        failpoint: Failpoint = no_failpoint,
        rounds_between_cleanups: int = ROUNDS_BETWEEN_CLEANUPS,
    ) -> None:
        """`follows` is for the first participant, whose branch follows the outcome. The second
        one's branch is the outcome, so Resolve has ended it."""
        self._participant = participant
        self._outcomes = outcomes
        self._follows = follows
        self._min_age_seconds = min_age_seconds
        self._failpoint = failpoint
        self._rounds_between_cleanups = rounds_between_cleanups
        self._rounds = 0
        self._after = ""
        """The branch at which the last round ended early."""

    @property
    def question(self) -> Question:
        """Whether there is a branch to settle."""
        return self._participant.question(self._min_age_seconds)

    async def run_once(self) -> None:
        """Settles every branch that is old enough, and in some rounds removes old gids. A branch
        that cannot be settled does not delay the others, and a removal that fails waits for its
        next turn. Raises Unavailable, DeadlineExceeded or ResourceExhausted if a dependency is
        down, frozen or overloaded; the next round goes on with the next branch."""
        for gid in await self._next_gids():
            self._after = gid
            try:
                await self._settle(gid)
            except MeshError as error:
                if isinstance(error, _AWAY):
                    raise
                # After a lost race the next round tries again.
                say = log.warning if isinstance(error, Aborted) else log.error
                say("fail_branch_recovery", gid=gid, reason=error.reason)
        self._after = ""
        is_cleanup = self._rounds % self._rounds_between_cleanups == 0
        self._rounds += 1
        if is_cleanup:
            await self._forget()

    async def _next_gids(self) -> list[str]:
        """The old branches, oldest first, but beginning after the one that ended the last round."""
        branches = await self._participant.branches(self._min_age_seconds)
        gids = [branch.gid for branch in branches]
        begin = gids.index(self._after) + 1 if self._after in gids else 0
        return gids[begin:] + gids[:begin]

    async def _settle(self, gid: str) -> None:
        self._failpoint("recovery.before_resolve")
        outcome = await self._outcomes.resolve(gid)
        self._failpoint("recovery.after_resolve")
        if self._follows and outcome is Outcome.ABORT:
            await self._participant.abort(gid)
        elif self._follows:
            await self._participant.commit(gid)
        log.info("recover_branch", gid=gid, outcome=outcome.value)

    async def _forget(self) -> None:
        before = self._participant.forgettable_before()
        # The second participant's database looks at its open decisions by itself.
        open_gids = await self._outcomes.open_gids() if self._follows else []
        # The list may be truncated at MAX_LISTED: a missing open gid would lose its row.
        if len(open_gids) < MAX_LISTED:
            await self._participant.forget_old_gids(before, open_gids)


class DecisionRecovery:
    """Finishes the transactions that are decided to commit: commits their first branches.

    A lost first branch is redone (mesh/txn/redo.py). A transaction that cannot be finished is
    logged as an error in each round, and listed by `gachactl tx`, until a person resolves it.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        decisions: DecisionLog,
        first: FirstParticipantClient,
        *,
        min_age_seconds: float = RECOVERY_AGE_SECONDS,
        failpoint: Failpoint = no_failpoint,
        max_alarms: int = MAX_ALARMS,
    ) -> None:
        """A round logs at most `max_alarms` transactions that it could not finish by gid, and
        the number of the others."""
        self._coordinator = coordinator
        self._max_alarms = max_alarms
        self._decisions = decisions
        self._first = first
        self._min_age_seconds = min_age_seconds
        self._failpoint = failpoint
        self._after = BEGINNING
        self._alarms = 0

    @property
    def question(self) -> Question:
        """Whether there is a transaction to finish."""
        return unfinished_question(self._min_age_seconds)

    async def run_once(self) -> None:
        """Commits the transactions that are decided and not known to be done. One that cannot
        be committed does not delay the others. Raises Unavailable, DeadlineExceeded or
        ResourceExhausted if a dependency is down or overloaded."""
        done = self._coordinator.take_done()
        self._alarms = 0
        try:
            await self._finish_next(done)
        finally:
            if done:
                self._failpoint("recovery.before_done")
                await self._decisions.mark_done(done)
        if self._alarms > self._max_alarms:
            log.error("fail_more_decision_recoveries", count=self._alarms - self._max_alarms)

    async def _finish_next(self, done: set[str]) -> None:
        """Continues where the last round stopped, so that stuck transactions at the front
        cannot starve those behind them."""
        positions = await self._decisions.unfinished(self._min_age_seconds, self._after)
        for position in positions:
            self._after = position
            if position.gid not in done and await self._finish(position.gid):
                done.add(position.gid)
        if len(positions) < self._decisions.max_listed:
            self._after = BEGINNING

    async def _finish(self, gid: str) -> bool:
        try:
            self._failpoint("recovery.before_commit")
            was_lost = await commit_or_redo(
                self._first, self._decisions, gid, Deadline.after(FINISH_SECONDS)
            )
            if was_lost:
                self._alarm("redo_lost_branch", gid=gid)
        except MeshError as error:
            if isinstance(error, _AWAY):
                raise
            return await self._explain(gid, error)
        log.info("recover_decision", gid=gid)
        return True

    async def _explain(self, gid: str, error: MeshError) -> bool:
        """Logs a transaction that could not be finished. Returns whether it is done after all,
        by another recoverer."""
        if isinstance(error, Aborted):
            # It lost a race; the next round tries again.
            log.warning("postpone_decision_recovery", gid=gid, reason=error.reason)
            return False
        if error.reason == BranchLost.REASON and await self._decisions.operations(gid) is None:
            return True
        event = "lose_branch" if error.reason == BranchLost.REASON else "fail_decision_recovery"
        self._alarm(event, gid=gid, reason=error.reason, message=error.message)
        return False

    def _alarm(self, event: str, **fields: str) -> None:
        self._alarms += 1
        if self._alarms <= self._max_alarms:
            log.error(event, **fields)
