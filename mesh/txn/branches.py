"""Prepares both branches of a transaction, and aborts them.

A large batch is prepared in turn, the first branch and then, for what was accepted, the second.
The second participant's refusals come after the first has prepared, so they make the others
start over; after one, batches are screened for a while (mesh/txn/local/screening.py).

A small batch is prepared on both sides at the same time, which is shorter, but any refusal costs
an abort of both. So for IN_TURN_SECONDS after an operation was refused, batches with its owner are
prepared in turn. Those of other owners are not.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.failpoints import Failpoint
from mesh.txn.local.screening import Screening
from mesh.txn.model import DUPLICATE, No, Operation, Vote, Yes
from mesh.txn.sides import (
    Answer,
    Committed,
    DecidingParticipantClient,
    Ends,
    FirstParticipantClient,
    OperationPair,
)

ABORT_SECONDS = 2.0
MAX_TOGETHER = 4
IN_TURN_SECONDS = 10.0
MAX_REFUSED_OWNERS = 4096
"""Who was refused before that many others is forgotten early, which costs an abort."""

log = structlog.get_logger()

Votes = Mapping[str, Vote[object]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What both branches hold, by operation id, if they are committed; empty if there are none.
    `refused`: the operations that are not part of them."""

    refused: Mapping[str, Answer]
    results: Mapping[str, Committed]


class Branches:
    """Prepares and aborts for one coordinator."""

    def __init__(
        self,
        first: FirstParticipantClient,
        second: DecidingParticipantClient,
        screening: Screening,
        count_restart: Callable[[], None],
        failpoint: Failpoint,
        timer: Callable[[], float],
        max_refused_owners: int = MAX_REFUSED_OWNERS,
    ) -> None:
        """As for the coordinator. So many refused owners are remembered."""
        self._first = first
        self._second = second
        self._screening = screening
        self._count_restart = count_restart
        self._failpoint = failpoint
        self._timer = timer
        self._max_refused_owners = max_refused_owners
        self._in_turn_until: dict[str, float] = {}
        """Of the owners who were refused, the earliest refusal first."""

    async def prepare(
        self, gid: str, batch: Sequence[OperationPair], deadline: Deadline
    ) -> Prepared:
        """Prepares both branches for what both sides accept, or neither. An operation without
        an answer has to start over. Raises a participant's MeshError; no branch is prepared
        then, or recovery ends it."""
        is_in_turn = len(batch) > MAX_TOGETHER or self._was_one_refused(batch)
        prepare = self._prepare_in_turn if is_in_turn else self._prepare_together
        prepared = await prepare(gid, batch, deadline)
        self._note_refused(pair.owner for pair in batch if pair.id in prepared.refused)
        return prepared

    async def abort(self, gid: str) -> None:
        """Aborts the first branch only when the second can no longer be committed. What fails
        is left to recovery."""
        if await self._abort(self._second, gid):
            await self._abort(self._first, gid)

    async def _prepare_in_turn(
        self, gid: str, batch: Sequence[OperationPair], deadline: Deadline
    ) -> Prepared:
        try:
            firsts = await self._prepare_first(gid, batch, deadline)
        except MeshError:
            # The branch may exist. No other process prepares a second one, so none can decide.
            await self._abort(self._first, gid)
            raise
        refused = _refusals(firsts)
        accepted = [pair for pair in batch if pair.id not in refused]
        if not accepted:
            return Prepared(refused, {})
        try:
            self._failpoint("coordinator.between_prepares")
            seconds = await self._prepare_second(gid, accepted, deadline)
        except MeshError:
            await self.abort(gid)
            raise
        if held_back := _refusals(seconds):
            await self._start_over(gid, accepted, held_back, held_back)
            return Prepared({**refused, **held_back}, {})
        return Prepared(refused, _results(accepted, firsts, seconds))

    async def _prepare_together(
        self, gid: str, batch: Sequence[OperationPair], deadline: Deadline
    ) -> Prepared:
        firsts, seconds = await asyncio.gather(
            self._prepare_first(gid, batch, deadline),
            self._prepare_second(gid, batch, deadline),
            return_exceptions=True,
        )
        for votes in (firsts, seconds):
            if isinstance(votes, BaseException):
                await self.abort(gid)
                raise votes
        assert isinstance(firsts, Mapping)
        assert isinstance(seconds, Mapping)
        refused, held_back = _refusals(firsts), _refusals(seconds)
        if refused or held_back:
            await self._start_over(gid, batch, held_back, {**refused, **held_back})
            done = {id: no for id, no in held_back.items() if no.reason == DUPLICATE}
            return Prepared({**held_back, **refused, **done}, {})
        return Prepared({}, _results(batch, firsts, seconds))

    async def _start_over(
        self,
        gid: str,
        batch: Sequence[OperationPair],
        held_back: Mapping[str, No],
        refused: Mapping[str, No],
    ) -> None:
        """Aborts both branches, because operations in them were refused; `held_back` by the
        second participant."""
        if held_back:
            self._screening.begin()
        await self.abort(gid)
        if len(refused) < len(batch):
            self._count_restart()

    def _was_one_refused(self, batch: Sequence[OperationPair]) -> bool:
        now = self._timer()
        return any(now < self._in_turn_until.get(pair.owner, -math.inf) for pair in batch)

    def _note_refused(self, owners: Iterable[str]) -> None:
        for owner in owners:
            # A dict keeps the order of insertion.
            self._in_turn_until.pop(owner, None)
            self._in_turn_until[owner] = self._timer() + IN_TURN_SECONDS
            if len(self._in_turn_until) > self._max_refused_owners:
                del self._in_turn_until[next(iter(self._in_turn_until))]

    async def _prepare_first(
        self, gid: str, batch: Sequence[OperationPair], deadline: Deadline
    ) -> Votes:
        operations = _firsts(batch)
        votes = await self._first.prepare(gid, operations, deadline)
        return _by_id(operations, votes)

    async def _prepare_second(
        self, gid: str, batch: Sequence[OperationPair], deadline: Deadline
    ) -> Votes:
        operations = [Operation(pair.id, pair.second) for pair in batch]
        written = self._first.written(_firsts(batch))
        votes = await self._second.prepare(gid, operations, written, deadline)
        return _by_id(operations, votes)

    async def _abort(self, participant: Ends, gid: str) -> bool:
        try:
            await participant.abort(gid, Deadline.after(ABORT_SECONDS))
        except MeshError as error:
            log.warning("leave_abort_to_recovery", gid=gid, reason=error.reason)
            return False
        return True


def _firsts(batch: Sequence[OperationPair]) -> list[Operation[object]]:
    return [Operation(pair.id, pair.first) for pair in batch]


def _by_id(operations: Sequence[Operation[object]], votes: Sequence[Vote[object]]) -> Votes:
    return {operation.id: vote for operation, vote in zip(operations, votes, strict=True)}


def _refusals(votes: Votes) -> dict[str, No]:
    return {pair_id: vote for pair_id, vote in votes.items() if isinstance(vote, No)}


def _results(batch: Sequence[OperationPair], firsts: Votes, seconds: Votes) -> dict[str, Committed]:
    return {
        pair.id: Committed(_result(firsts[pair.id]), _result(seconds[pair.id])) for pair in batch
    }


def _result(vote: Vote[object]) -> object:
    assert isinstance(vote, Yes), "what is committed was voted for"
    return vote.result
