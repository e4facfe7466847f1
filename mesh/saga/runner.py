"""Drives the sagas of one database, in every instance of its service.

Guarantees:
- A saga that was begun is driven to an end, whichever process dies. One process at a time
  holds its lease and can move it. A process that was stopped for longer than its lease changes
  nothing: its next move fails.
- A failed step is retried after a growing pause, and parked after `max_attempts`
  (`mesh.saga.postponing`). Waiting for an outside system, also one that is away, has no limit.
- A saga that a caller begins is driven at once, while `max_begun` of these and `max_of_owner` of
  its owner are not reached. Any other begins without a lease, and is due at once. One that finds
  its place taken after the commit is given back, and is due at once too.
- Up to `max_due` sagas that are due are driven beside them. Owners take turns (`mesh.saga.turns`).
  What waits is taken as soon as a place is free, or within a second of another process's change.
- A runner takes the sagas of its own definitions only. So one kind cannot delay another that has
  a runner of its own.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline, within
from mesh.errors import DependencyAway, MeshError
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database
from mesh.postgres.pulse import Question
from mesh.postgres.shared_transactions import SharedTransactions
from mesh.saga import rows, turns
from mesh.saga.definition import (
    Definition,
    Move,
    NewSaga,
    PlainMove,
    Saga,
    SharedMove,
    StillWaiting,
    Transition,
)
from mesh.saga.places import Places
from mesh.saga.postponing import Postponing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SagaLimits:
    """Times and bounds. A step's timeout is below its lease, so that a driver stops before
    another one may take the saga."""

    step_seconds: float = 5.0
    lease_seconds: float = 10.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 60.0
    max_attempts: int = 100
    max_due: int = 64
    max_begun: int = 256
    max_of_owner: int = 16


class SagaRunner:
    """Begins sagas and drives those that are due. Use it in one event loop only."""

    def __init__(
        self,
        database: Database,
        definitions: Sequence[Definition],
        *,
        limits: SagaLimits | None = None,
        jitter: Callable[[], float] = random.random,
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        """`jitter` returns numbers in [0, 1). The failpoints are saga.<kind>.before_<state>,
        after_<state> (the step is done, nothing is written yet) and moved_<state>."""
        self._database = database
        self._definitions = {definition.kind: definition for definition in definitions}
        self._limits = limits or SagaLimits()
        self._postponing = Postponing(
            database,
            first_pause_seconds=self._limits.first_pause_seconds,
            longest_pause_seconds=self._limits.longest_pause_seconds,
            max_attempts=self._limits.max_attempts,
            jitter=jitter,
        )
        self._failpoint = failpoint
        self._driving: set[asyncio.Task[Saga]] = set()
        self._places = Places(
            max_due=self._limits.max_due,
            max_begun=self._limits.max_begun,
            max_of_owner=self._limits.max_of_owner,
        )
        self._taking = asyncio.Lock()
        self._is_behind = False
        """Whether there may be due sagas that wait for a place."""
        self._is_place_freed = False
        """Whether a saga has left its place, or was given back, since due ones were last looked
        for."""
        self._refilling: asyncio.Task[None] | None = None
        self._is_closed = False
        self._plain_moves = {
            kind: SharedTransactions(database, partial(self._move_plainly, definition))
            for kind, definition in self._definitions.items()
        }

    def begin(self, cursor: Cursor, kind: str, new: NewSaga) -> Saga | None:
        """Inserts a saga in the caller's transaction. Returns it leased to this process, to
        `drive` after the commit. If the process dies before, or the task that was to drive it is
        cancelled, the saga is taken up when its lease expires (`mesh.saga.begun` prevents the
        second). Returns None if the saga waits for its turn, or if there is one with that id. So
        a repeat is harmless. For example:

            new = NewSaga(purchase_id, user_id, {"amount": 100})
            saga = await database.transaction(
                lambda cursor: runner.begin(cursor, "purchase", new)
            )
            if saga is not None:
                runner.drive(saga)
        """
        return self.begin_all(cursor, kind, [new]).get(new.saga_id)

    def begin_all(self, cursor: Cursor, kind: str, new: Sequence[NewSaga]) -> Mapping[str, Saga]:
        """As `begin`, for several sagas at once. Returns those to drive, by id."""
        state = self._definitions[kind].begins_in
        placed, waiting = self._places.split(new)
        if waiting:
            rows.insert(cursor, kind, state, waiting, None)
            self._is_behind = True
        return rows.insert(cursor, kind, state, placed, self._limits.lease_seconds)

    def drive(self, saga: Saga) -> "asyncio.Task[Saga]":
        """Drives a saga that has just begun here, in a task that need not be awaited. The task
        returns the saga in its end state, or as it was when it was postponed or given back, or its
        lease was lost."""
        return self._start(saga, is_begun=True)

    async def find(self, saga_id: str) -> Saga | None:
        """The current saga with that id; None if there is none."""
        return await self._database.autocommit(lambda cursor: rows.find(cursor, saga_id))

    @property
    def question(self) -> Question:
        """Whether any saga is due."""
        return turns.due_question(list(self._definitions))

    async def run_once(self) -> None:
        """Starts driving the due sagas for which there are places. Does not wait for them."""
        async with self._taking:
            self._is_place_freed = False
            room = self._places.free_for_due
            if not room:
                self._is_behind = True
                return
            # Places may be freed, and sagas given back, while the query runs.
            self._is_behind = self._places.is_an_owner_full
            due = await self._database.autocommit(
                lambda cursor: turns.lease_due(
                    cursor,
                    list(self._definitions),
                    room,
                    self._limits.lease_seconds,
                    driven=self._places.driven(),
                    max_of_owner=self._limits.max_of_owner,
                )
            )
            self._is_behind |= bool(due) or self._places.is_an_owner_full
            for saga in due:
                self._start(saga, is_begun=False)
        self._refill_soon()

    async def close(self) -> None:
        """Stops driving. Other instances take up the sagas when their leases expire."""
        self._is_closed = True
        ending: list[asyncio.Task[Any]] = [*self._driving]
        if self._refilling is not None:
            ending.append(self._refilling)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _start(self, saga: Saga, *, is_begun: bool) -> "asyncio.Task[Saga]":
        """Drives the saga, or gives it back if others have taken its place meanwhile."""
        has_place = self._places.enter(saga, is_begun=is_begun)

        def end(task: "asyncio.Task[Saga]") -> None:
            if has_place:
                self._places.leave(saga, is_begun=is_begun)
            else:
                # It is due from now on; a look that began before did not see it.
                self._is_behind = True
            self._forget(task)

        work = self._drive(saga) if has_place else self._postponing.give_back(saga)
        task = asyncio.create_task(work, name=f"saga-{saga.kind}")
        self._driving.add(task)
        task.add_done_callback(end)
        return task

    def _forget(self, task: "asyncio.Task[Saga]") -> None:
        self._driving.discard(task)
        self._is_place_freed = True
        self._refill_soon()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The task may have no awaiter. The saga is taken up when its lease expires.
            log.error("fail_saga_driver", exc_info=error)

    def _refill_soon(self) -> None:
        """Has due sagas taken, if some may wait for a place that was freed."""
        if self._refilling is None and self._may_refill():
            self._refilling = asyncio.create_task(self._refill(), name="saga-refill")

    def _may_refill(self) -> bool:
        return self._is_place_freed and self._is_behind and not self._is_closed

    async def _refill(self) -> None:
        """Takes what waits for places that were freed, also for those that are freed meanwhile."""
        try:
            while self._may_refill():
                await self.run_once()
        except MeshError as error:
            # The next round is due within a second, whatever happened to this one.
            log.warning("fail_saga_refill", reason=error.reason)
        finally:
            self._refilling = None

    async def _drive(self, saga: Saga) -> Saga:
        definition = self._definitions[saga.kind]
        try:
            while not definition.is_end(saga.state):
                saga = await self._advance(definition, saga)
        except rows.LeaseLost:
            log.warning("lose_saga_lease", kind=saga.kind, saga_id=saga.saga_id, state=saga.state)
        except StillWaiting as error:
            await self._postponing.wait_on(saga, error.reason, error.PAUSE_SECONDS)
        except DependencyAway as error:
            await self._postponing.wait_on(saga, error.reason)
        except TimeoutError:
            await self._postponing.wait_on(saga, "TIMEOUT")
        except MeshError as error:
            await self._postponing.retry_later(saga, error.reason)
        except Exception as error:
            log.error("fail_saga_step", kind=saga.kind, saga_id=saga.saga_id, exc_info=error)
            await self._postponing.retry_later(saga, "INTERNAL")
        return saga

    async def _advance(self, definition: Definition, saga: Saga) -> Saga:
        self._failpoint(f"saga.{saga.kind}.before_{saga.state}")
        deadline = Deadline.after(self._limits.step_seconds)
        move = await within(deadline, definition.step_of(saga.state)(saga, deadline))
        self._failpoint(f"saga.{saga.kind}.after_{saga.state}")
        match move:
            case SharedMove():
                moved = await move.carry_out()
            case PlainMove():
                moved = await self._plain_moves[saga.kind].run(
                    Transition(saga, move.state, move.remember)
                )
            case Move():
                moved = await self._move(definition, saga, move)
        self._failpoint(f"saga.{saga.kind}.moved_{saga.state}")
        return moved

    async def _move(self, definition: Definition, saga: Saga, move: Move) -> Saga:
        def apply(cursor: Cursor) -> Saga:
            transition = Transition(saga, move.apply(cursor), move.remember)
            return rows.move(
                cursor, definition, transition, lease_seconds=self._limits.lease_seconds
            )

        return await self._database.transaction(apply)

    def _move_plainly(
        self, definition: Definition, cursor: Cursor, transitions: Sequence[Transition]
    ) -> Sequence[Saga | MeshError]:
        moved = rows.move_all(
            cursor, definition, transitions, lease_seconds=self._limits.lease_seconds
        )
        results: list[Saga | MeshError] = []
        for each in transitions:
            try:
                results.append(rows.moved_or_lost(moved, each.saga))
            except rows.LeaseLost as error:
                results.append(error)
        return results
