"""Sends the requests of concurrent callers in calls that they share.

Guarantees:
- Requests that arrive while `max_calls` are under way share the next one, up to `max_batch`. There
  is no timer, so a lone request is sent at once.
- One call that is not answered leaves the others room, so it delays its own requests only.
- A call has the longest deadline of its requests, and the trace of the first one. A caller waits no
  longer than for its own deadline.
- The queue is bounded; requests beyond the bound are refused at once. One whose caller is gone
  before it is sent is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.deadlines import Deadline, within
from mesh.errors import DeadlineExceeded, Internal, ResourceExhausted

MAX_BATCH = 100
MAX_CALLS = 2
MAX_WAITING = 4096

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    deadline: Deadline
    context: Context
    result: "asyncio.Future[Result]"


class SharedCalls(Generic[Request, Result]):
    """The calls of one method. Use it in one event loop only."""

    def __init__(
        self,
        call: Callable[[Sequence[Request], Deadline], Awaitable[Sequence[Result]]],
        *,
        max_batch: int = MAX_BATCH,
        max_calls: int = MAX_CALLS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """`call` sends requests and returns a result for each, in order. What it raises is raised
        for each of them."""
        self._call = call
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting[Request, Result]] = deque()
        self._calling: set[asyncio.Task[None]] = set()

    async def run(self, request: Request, deadline: Deadline) -> Result:
        """The result of the request. Raises what the call raises, DeadlineExceeded, and
        ResourceExhausted if too many requests wait. After DeadlineExceeded the outcome is
        unknown."""
        if len(self._waiting) >= self._max_waiting:
            raise ResourceExhausted(
                "Too many calls are waiting; repeat the call in a moment.",
                reason="CALLS_BUSY",
                retry_after_seconds=1.0,
            )
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, deadline, copy_context(), result))
        self._send()
        try:
            return await within(deadline, result)
        except TimeoutError:
            raise DeadlineExceeded(
                "The call's deadline has passed; repeat it to learn the outcome."
            ) from None

    def _send(self) -> None:
        while len(self._calling) < self._max_calls and (batch := self._take()):
            task = asyncio.get_running_loop().create_task(
                self._answer(batch), name="shared-call", context=batch[0].context
            )
            self._calling.add(task)
            task.add_done_callback(self._end)

    def _take(self) -> list[_Waiting[Request, Result]]:
        """The first requests whose callers still wait."""
        batch: list[_Waiting[Request, Result]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting.result.done():
                batch.append(waiting)
        return batch

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._calling.discard(task)
        self._send()

    async def _answer(self, batch: Sequence[_Waiting[Request, Result]]) -> None:
        deadline = Deadline.latest(waiting.deadline for waiting in batch)
        try:
            results = await self._call([waiting.request for waiting in batch], deadline)
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            _fail(batch, error)
        except asyncio.CancelledError:
            # Without this, those who wait for a call that was cancelled would wait for ever.
            _fail(batch, Internal("The call was cancelled."))
            raise
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(result)


def _fail(batch: Sequence[_Waiting[Request, Result]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.result.done():
            waiting.result.set_exception(error)
