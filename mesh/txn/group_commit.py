"""Group commit: runs waiting operations in batches, one transaction each.

Guarantees:
- The next batch starts when a slot is free and takes all waiting operations, up to
  `max_batch`. There is no timer, so a lone caller does not wait.
- The operations of one owner run in order of arrival, one per batch.
- A refused operation does not affect the others. A batch that fails as a whole is halved and
  each half retried, so that a poisonous operation is isolated in a few steps and fails alone.
- A BUSY operation is retried with a growing pause, until its caller's deadline. After some retries
  it runs alone, beside the batches, so that its participant may wait for what is busy.
- An operation whose caller is cancelled before its batch starts is dropped; after that it is
  finished.
- A lone operation keeps its call's trace; a batch of several gets a new trace.
- The queue is bounded, in total and per owner; operations beyond a bound are refused at once.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry

from mesh.calls import ALL_INSTANCES_UNAVAILABLE
from mesh.deadlines import Deadline
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    InDoubt,
    Internal,
    MeshError,
    ResourceExhausted,
    Unavailable,
)
from mesh.tracing import begin_trace, current_traceparent
from mesh.txn.coordinator import Coordinator
from mesh.txn.metrics import TransactionMetrics
from mesh.txn.model import BUSY, MAX_OPERATIONS, No
from mesh.txn.sides import Answer, OperationPair

MAX_IN_FLIGHT = 1
MAX_ALONE = 4
"""Operations that run alone at a time, because they were BUSY MAX_RETRIES_TOGETHER times."""
MAX_RETRIES_TOGETHER = 3
MAX_WAITING = 4096
MAX_WAITING_OF_AN_OWNER = 128
TRANSACTION_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.004
LONGEST_PAUSE_SECONDS = 0.1
RETRY_AFTER_SECONDS = 1.0
FAILED = "The operation failed; repeat it with its idempotency key."

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Waiting:
    pair: OperationPair
    deadline: Deadline
    answer: "asyncio.Future[Answer]"
    pause_seconds: float = FIRST_PAUSE_SECONDS
    retry_count: int = 0
    traceparent: str = field(default_factory=current_traceparent)


@dataclass(slots=True)
class _Queues:
    """The waiting operations by owner, and those that may join the next batch."""

    of_owner: dict[str, deque[_Waiting]] = field(default_factory=dict)
    ready: deque[_Waiting] = field(default_factory=deque)
    count: int = 0


class GroupCommit:
    """Runs operations through a coordinator, in batches. Use it in one event loop only."""

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_batch: int = MAX_OPERATIONS,
        max_waiting: int = MAX_WAITING,
        jitter: Callable[[], float] = random.random,
        metrics: TransactionMetrics | None = None,
    ) -> None:
        """`max_batch` is at most MAX_OPERATIONS, the bound of a participant. `jitter` returns
        numbers in [0, 1)."""
        assert 1 <= max_batch <= MAX_OPERATIONS, "a participant refuses a larger batch"
        self._coordinator = coordinator
        self._free_slots = max_in_flight
        self._free_alone = MAX_ALONE
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._jitter = jitter
        self._metrics = metrics or TransactionMetrics(CollectorRegistry())
        self._queues = _Queues()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_scheduled = False

    async def submit(self, pair: OperationPair, deadline: Deadline) -> Answer:
        """Applies the operation in both databases or in neither.

        Returns No if a participant refused it; it then changed nothing. Raises InDoubt or
        DeadlineExceeded if the outcome is unknown, ResourceExhausted if too many operations
        wait, and any other error of a participant. For example:

            pair = OperationPair(pull_id, user_id, first=debit, second=draw)
            answer = await group_commit.submit(pair, call.deadline)
            if isinstance(answer, No):
                raise refusal(answer.reason)
        """
        queue = self._queues.of_owner.get(pair.owner)
        if self._queues.count >= self._max_waiting:
            raise _too_many("COORDINATOR_BUSY", "Too many operations are waiting")
        if queue is not None and len(queue) >= MAX_WAITING_OF_AN_OWNER:
            raise _too_many("OWNER_BUSY", "Too many operations of this caller are waiting")
        waiting = _Waiting(pair, deadline, asyncio.get_running_loop().create_future())
        self._queues.count += 1
        if queue is None:
            self._queues.of_owner[pair.owner] = deque([waiting])
            self._make_ready(waiting)
        else:
            queue.append(waiting)
        return await waiting.answer

    def _make_ready(self, waiting: _Waiting) -> None:
        if waiting.retry_count < MAX_RETRIES_TOGETHER or not self._free_alone:
            self._queues.ready.append(waiting)
            self._schedule()
        elif not self._has_gone(waiting):
            self._free_alone -= 1
            self._start([waiting], self._end_alone)

    def _schedule(self) -> None:
        """Starts batches in the next turn of the loop, after all callers of this turn have
        joined the queue."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_batches)

    def _send_batches(self) -> None:
        self._is_scheduled = False
        while self._free_slots and (batch := self._next_batch()):
            self._free_slots -= 1
            self._start(batch, self._end_batch)

    def _start(self, batch: Sequence[_Waiting], end: Callable[[], None]) -> None:
        task = asyncio.create_task(self._run(batch, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end_batch(self) -> None:
        self._free_slots += 1
        self._schedule()

    def _end_alone(self) -> None:
        self._free_alone += 1

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queues.ready and len(batch) < self._max_batch:
            waiting = self._queues.ready.popleft()
            if not self._has_gone(waiting):
                batch.append(waiting)
        return batch

    def _has_gone(self, waiting: _Waiting) -> bool:
        """Whether nobody waits for it any more. Then it leaves the queue."""
        if waiting.answer.done():
            self._leave(waiting)
        elif waiting.deadline.is_over():
            self._fail(waiting, DeadlineExceeded("The call's deadline passed in the queue."))
        else:
            return False
        return True

    async def _run(self, batch: Sequence[_Waiting], end: Callable[[], None]) -> None:
        """`end` is called in every case."""
        try:
            await self._settle(batch)
        except (Exception, asyncio.CancelledError) as error:
            log.error("fail_batch", exc_info=error)
            # Each leaves the queue, also if its caller has gone or the batch was cancelled:
            # an operation that stayed there would block its owner's later ones.
            for waiting in batch:
                self._fail(waiting, Internal(FAILED))
        finally:
            end()

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        """Runs the batch. Each operation gets an answer or an error, or waits for a retry."""
        self._metrics.observe_operations(len(batch))
        begin_trace(batch[0].traceparent if len(batch) == 1 else "")
        deadline = Deadline.latest(waiting.deadline for waiting in batch)
        try:
            answers = await self._coordinator.run(
                [waiting.pair for waiting in batch], deadline.shortened_to(TRANSACTION_SECONDS)
            )
        except MeshError as error:
            await self._narrow(batch, error)
            return
        except Exception as error:
            # A bug, which one operation may meet alone. Its operations may have taken effect:
            # the participants then answer the repeat of each with DUPLICATE.
            log.error("fail_batch", size=len(batch), exc_info=error)
            await self._narrow(batch, Internal(FAILED))
            return
        for waiting in batch:
            answer = answers[waiting.pair.id]
            if isinstance(answer, No) and answer.reason == BUSY:
                self._wait_again(waiting)
            else:
                self._answer(waiting, answer)

    async def _narrow(self, batch: Sequence[_Waiting], error: MeshError) -> None:
        if _is_of_the_batch(error) and len(batch) > 1:
            self._metrics.count_halving()
            log.warning("halve_batch", size=len(batch), reason=error.reason)
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        for waiting in batch:
            if _may_succeed_later(error):
                self._wait_again(waiting)
            else:
                self._fail(waiting, error)

    def _wait_again(self, waiting: _Waiting) -> None:
        """Retries the operation after a pause. It stays ahead of its owner's later operations."""
        if waiting.deadline.is_over():
            self._fail(waiting, DeadlineExceeded("The operation waited for another one too long."))
            return
        self._metrics.count_retry()
        waiting.retry_count += 1
        pause_seconds = waiting.pause_seconds * (0.5 + self._jitter() / 2)
        waiting.pause_seconds = min(2 * waiting.pause_seconds, LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(pause_seconds, self._make_ready, waiting)

    def _answer(self, waiting: _Waiting, answer: Answer) -> None:
        if not waiting.answer.done():
            waiting.answer.set_result(answer)
        self._leave(waiting)

    def _fail(self, waiting: _Waiting, error: MeshError) -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
        self._leave(waiting)

    def _leave(self, waiting: _Waiting) -> None:
        """Removes the operation and makes the owner's next one ready. Idempotent."""
        queue = self._queues.of_owner.get(waiting.pair.owner)
        if not queue or queue[0] is not waiting:
            return
        queue.popleft()
        self._queues.count -= 1
        if queue:
            self._make_ready(queue[0])
        else:
            del self._queues.of_owner[waiting.pair.owner]


def _is_of_the_batch(error: MeshError) -> bool:
    """Whether a single operation may be the cause, so that the others may succeed without it."""
    return not isinstance(error, (Unavailable, ResourceExhausted, DeadlineExceeded))


def _may_succeed_later(error: MeshError) -> bool:
    """Whether nothing took effect and a retry soon may succeed."""
    if isinstance(error, InDoubt):
        return False
    if error.reason == ALL_INSTANCES_UNAVAILABLE:
        return False
    return isinstance(error, (Unavailable, Aborted))


def _too_many(reason: str, message: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"{message}; repeat the call in a moment.",
        reason=reason,
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
