"""Runs the writes of concurrent callers in shared transactions.

Guarantees:
- One transaction is under way at a time. Requests that arrive meanwhile share the next one, up
  to `max_batch`. There is no timer, so a lone caller does not wait.
- A result reaches its caller after the commit. A request that `work` refuses fails alone.
- A batch that the database refuses as a whole is repeated request by request, so that a
  poisonous one fails alone.
- A request whose caller is cancelled before its transaction starts is dropped; after that it is
  finished.
- The queue is bounded; requests beyond the bound are refused at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.background import was_asked_to_end
from mesh.errors import Internal, MeshError, ResourceExhausted
from mesh.postgres.database import Database

MAX_BATCH = 256
MAX_WAITING = 4096

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    result: "asyncio.Future[Result]"

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
    ) -> None:
        """`work` makes the changes of all requests, in a number of statements that does not grow
        with them. It returns a result for each, in order, or a MeshError for one that it refuses
        and that changed nothing. It locks rows in one order, whatever the order of the requests,
        because other processes run it too. It may run several times."""
        self._database = database
        self._work = work
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._arrived: deque[_Waiting[Request, Result]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def run(self, request: Request) -> Result:
        """The result of the request, once it is committed.

        Raises the error that `work` returned for it; DatabaseAway, after which the outcome is
        unknown, as after any other error of `Database.transaction`; and ResourceExhausted if
        too many requests wait.
        """
        if len(self._arrived) >= self._max_waiting:
            raise ResourceExhausted(
                "Too many changes are waiting; repeat the call in a moment.",
                reason="WRITES_BUSY",
                retry_after_seconds=1.0,
            )
        waiting = _Waiting[Request, Result](request, asyncio.get_running_loop().create_future())
        self._arrived.append(waiting)
        if self._running is None:
            self._running = asyncio.create_task(self._keep_running(), name="shared-transactions")
        return await waiting.result

    async def _keep_running(self) -> None:
        try:
            while batch := self._next_batch():
                await self._attempt(batch)
        finally:
            self._running = None

    def _next_batch(self) -> list[_Waiting[Request, Result]]:
        batch: list[_Waiting[Request, Result]] = []
        while self._arrived and len(batch) < self._max_batch:
            waiting = self._arrived.popleft()
            if not waiting.result.done():
                batch.append(waiting)
        return batch

    async def _attempt(self, batch: Sequence[_Waiting[Request, Result]]) -> None:
        requests = [waiting.request for waiting in batch]
        try:
            results = await self._database.transaction(lambda cursor: self._work(cursor, requests))
        except asyncio.CancelledError:
            # Without this, those who wait for a transaction that was cancelled would wait for ever.
            for waiting in batch:
                waiting.settle(Internal("The transaction was cancelled."))
            if was_asked_to_end():
                raise
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            if isinstance(error, MeshError) or len(batch) == 1:
                for waiting in batch:
                    waiting.settle(error)
                return
            for waiting in batch:
                await self._attempt([waiting])
        else:
            for waiting, result in zip(batch, results, strict=True):
                waiting.settle(result)
