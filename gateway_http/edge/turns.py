"""Turns of callers: one caller's requests cannot make the others wait for all of them.

Guarantees: in one iteration of the event loop at most PER_ITERATION requests of each caller begin.
Further ones of the same caller wait, in their order, and nobody else waits for them. So an
iteration stays short however many connections a caller has: the caller's next requests arrive only
once the last ones were answered. A caller below the bound does not wait at all.

For one event loop.
"""

import asyncio
from collections import deque

from gateway_http.edge.callers import Caller

PER_ITERATION = 16


class Turns:
    """The requests that have begun in this iteration, and those that wait."""

    def __init__(self, per_iteration: int = PER_ITERATION) -> None:
        self._per_iteration = per_iteration
        self._begun: dict[Caller, int] = {}
        self._waiting: dict[Caller, deque[asyncio.Future[None]]] = {}
        self._is_scheduled = False

    @property
    def waiting_count(self) -> int:
        """The requests that wait for their turn."""
        return sum(len(queue) for queue in self._waiting.values())

    def begin(self, caller: Caller) -> asyncio.Future[None] | None:
        """Begins a request of the caller. Returns None if it may begin now, or else what to await
        first."""
        loop = asyncio.get_running_loop()
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._begin_iteration)
        begun_count = self._begun.get(caller, 0)
        if begun_count < self._per_iteration and caller not in self._waiting:
            self._begun[caller] = begun_count + 1
            return None
        turn = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        return turn

    def _begin_iteration(self) -> None:
        """Gives each caller that waits the next turns."""
        self._begun.clear()
        for caller, queue in tuple(self._waiting.items()):
            begun_count = 0
            while queue and begun_count < self._per_iteration:
                turn = queue.popleft()
                if not turn.done():  # the client of a cancelled one has disconnected
                    turn.set_result(None)
                    begun_count += 1
            if begun_count:
                self._begun[caller] = begun_count
            if not queue:
                del self._waiting[caller]
        self._is_scheduled = bool(self._begun)
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._begin_iteration)
