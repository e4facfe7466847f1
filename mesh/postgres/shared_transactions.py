"""Runs the writes of concurrent callers in shared transactions.

Guarantees:
- One shared transaction is under way at a time. Requests that arrive meanwhile share the next
  one, up to `max_batch`. There is no timer, so a lone caller does not wait.
- A result reaches its caller after the commit. A request that `work` refuses fails alone.
- A poisonous request fails alone, and holds up the others for SHARED_LOCK_TIMEOUT_MS at most.
  If a shared transaction fails for a reason that one request may be the cause of, its requests
  are tried alone, beside the shared transactions and a few at a time.
- A request that needs a lock of another transaction is repeated for ALONE_SECONDS. After each
  attempt it goes to the end of the queue of those that are tried alone.
- A request whose caller is cancelled before its transaction starts is dropped; after that the
  transaction is finished.
- The queue is bounded; requests beyond the bound are refused at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.background import was_asked_to_end
from mesh.errors import (
    DeadlineExceeded,
    Internal,
    MeshError,
    ResourceExhausted,
    Unavailable,
)
from mesh.postgres.database import Database, LockTimeout

MAX_BATCH = 256
MAX_WAITING = 4096
SHARED_LOCK_TIMEOUT_MS = 200
ALONE_LOCK_TIMEOUT_MS = 50
"""Shorter, because others wait for their first attempt meanwhile."""
ALONE_SECONDS = 3.0
MAX_ALONE_IN_FLIGHT = 2

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    result: "asyncio.Future[Result]"
    context: Context
    """The caller's, with its trace."""
    alone_until: float = 0.0
    """The time after which it is not tried again, once it is tried alone."""

    def settle(self, outcome: Result | Exception) -> None:
        """Idempotent; the caller may be gone."""
        if self.result.done():
            return
        if isinstance(outcome, Exception):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class SharedTransactions(Generic[Request, Result]):
    """Transactions of one kind of work. Use it in one event loop only."""

    def __init__(
        self,
        database: Database,
        work: Callable[[Cursor, Sequence[Request]], Sequence[Result | MeshError]],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        on_commit: Callable[[Result], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`work` makes the changes of all requests, in a number of statements that does not grow
        with them. It returns a result for each, in order, or a MeshError for one that it refuses
        and that changed nothing. It locks rows in one order, whatever the order of the requests,
        because other transactions run it too, here and in other processes. It may run several
        times. `on_commit` gets each result in the event loop after the commit, before the caller
        does and in the caller's context, also if the caller has left; it must not raise. `clock`
        is monotonic, in seconds."""
        self._database = database
        self._work = work
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._on_commit = on_commit
        self._clock = clock
        self._arrived: deque[_Waiting[Request, Result]] = deque()
        self._alone: deque[_Waiting[Request, Result]] = deque()
        self._sharing: asyncio.Task[None] | None = None
        self._trying_alone: set[asyncio.Task[None]] = set()

    async def run(self, request: Request) -> Result:
        """The result of the request, once it is committed.

        Raises the error that `work` returned for it; LockTimeout, after which nothing was
        changed, if another transaction holds what it needs for ALONE_SECONDS; DatabaseAway,
        after which the outcome is unknown, as after any other error of `Database.transaction`;
        and ResourceExhausted if too many requests wait.
        """
        if len(self._arrived) + len(self._alone) >= self._max_waiting:
            raise ResourceExhausted(
                "Too many changes are waiting; repeat the call in a moment.",
                reason="WRITES_BUSY",
                retry_after_seconds=1.0,
            )
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(request, result, copy_context())
        self._arrived.append(waiting)
        if self._sharing is None:
            self._sharing = asyncio.create_task(self._keep_sharing(), name="shared-transactions")
        return await waiting.result

    async def _keep_sharing(self) -> None:
        try:
            while batch := _take(self._arrived, self._max_batch):
                error = await self._attempt(batch, SHARED_LOCK_TIMEOUT_MS)
                if isinstance(error, LockTimeout) or (len(batch) > 1 and _is_of_one(error)):
                    self._set_aside(batch)
                elif error is not None:
                    _fail(batch, error)
        finally:
            self._sharing = None

    def _set_aside(self, batch: Sequence[_Waiting[Request, Result]]) -> None:
        """Has each request tried alone, beside the shared transactions."""
        for waiting in batch:
            waiting.alone_until = self._clock() + ALONE_SECONDS
        self._alone.extend(batch)
        # A worker that has ended takes nothing more, also before its done callback has run.
        working_count = sum(not each.done() for each in self._trying_alone)
        for _ in range(min(MAX_ALONE_IN_FLIGHT - working_count, len(batch))):
            task = asyncio.create_task(self._keep_trying_alone(), name="lone-transactions")
            self._trying_alone.add(task)
            task.add_done_callback(self._trying_alone.discard)

    async def _keep_trying_alone(self) -> None:
        while batch := _take(self._alone, 1):
            error = await self._attempt(batch, ALONE_LOCK_TIMEOUT_MS)
            if isinstance(error, LockTimeout) and self._clock() < batch[0].alone_until:
                self._alone.extend(batch)
            elif error is not None:
                _fail(batch, error)

    async def _attempt(
        self, batch: Sequence[_Waiting[Request, Result]], lock_timeout_ms: int
    ) -> Exception | None:
        """Runs a transaction, and settles its requests if it is committed or cancelled. Returns
        any other error."""
        requests = [waiting.request for waiting in batch]

        try:
            results = await self._database.transaction(
                lambda cursor: self._work(cursor, requests), lock_timeout_ms=lock_timeout_ms
            )
        except asyncio.CancelledError:
            # Without this, those who wait for a transaction that was cancelled would wait for ever.
            _fail(batch, Internal("The transaction was cancelled."))
            if was_asked_to_end():
                raise
            return None
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            return error
        for waiting, result in zip(batch, results, strict=True):
            if self._on_commit is not None and not isinstance(result, MeshError):
                waiting.context.run(self._on_commit, result)
            waiting.settle(result)
        return None


def _take(
    queue: deque[_Waiting[Request, Result]], max_count: int
) -> list[_Waiting[Request, Result]]:
    """Removes and returns the first requests whose callers still wait."""
    taken: list[_Waiting[Request, Result]] = []
    while queue and len(taken) < max_count:
        waiting = queue.popleft()
        if not waiting.result.done():
            taken.append(waiting)
    return taken


def _fail(batch: Sequence[_Waiting[Request, Result]], error: Exception) -> None:
    for waiting in batch:
        waiting.settle(error)


def _is_of_one(error: Exception | None) -> bool:
    """Whether a single request may be the cause, so that the others may succeed without it."""
    whole = (Unavailable, ResourceExhausted, DeadlineExceeded)
    return error is not None and not isinstance(error, whole)
