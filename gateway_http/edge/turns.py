"""Turns of callers: one caller's requests cannot make the others wait for all of them.

Guarantees: in one iteration of the event loop at most PER_ITERATION requests of each caller begin.
Further ones of the same caller wait, in their order, and nobody else waits for them. So an
iteration stays short however many connections a caller has: the caller's next requests arrive only
once the last ones were answered. A caller below the bound does not wait at all.

For one event loop.
"""

import asyncio
from collections import Counter, deque

from gateway_http.edge.callers import Caller

PER_ITERATION = 16


class Turns:
    """The requests that have begun in this iteration, and those that wait."""

    def __init__(self, per_iteration: int = PER_ITERATION) -> None:
        self._per_iteration = per_iteration
        self._begun: Counter[Caller] = Counter()
        self._waiting: dict[Caller, deque[asyncio.Future[None]]] = {}
        self._is_scheduled = False

    @property
    def waiting_count(self) -> int:
        """The requests that wait for their turn."""
        return sum(len(queue) for queue in self._waiting.values())

    async def wait(self, caller: Caller) -> None:
        """Returns when a request of the caller may begin."""
        loop = asyncio.get_running_loop()
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._begin_iteration)
        if caller not in self._waiting and self._begun[caller] < self._per_iteration:
            self._begun[caller] += 1
            return
        turn = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        await turn

    def _begin_iteration(self) -> None:
        """Gives each caller that waits the next turns."""
        self._begun.clear()
        for caller, queue in tuple(self._waiting.items()):
            while queue and self._begun[caller] < self._per_iteration:
                turn = queue.popleft()
                if not turn.done():  # the client of a cancelled one has disconnected
                    turn.set_result(None)
                    self._begun[caller] += 1
            if not queue:
                del self._waiting[caller]
        self._is_scheduled = bool(self._begun)
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._begin_iteration)
