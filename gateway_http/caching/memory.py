"""Answers that the gateway sends again for a moment before it calls anew.

Guarantees: an answer is sent for at most `max_age_seconds` after its call began, whatever happens
meanwhile: nothing has to reach the gateway for an answer to end. So several gateways need no word
of one another, and a restarted one remembers nothing. Errors are not remembered: while no instance
answers, neither does the gateway once the answer is too old. Requests that come while a call for
the same is under way wait for its answer, if that will not be too old for them.

Entries and bytes are bounded; the answer whose call is oldest is forgotten first. For one event
loop; the clock is monotonic, in seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway_http.exchange import Response

MAX_ANSWERS = 1024
MAX_BYTES = 8 * 1024 * 1024
Key = tuple[str, str]
"""The path and the query of a request, as they were sent."""


class Source(StrEnum):
    """Where an answer came from: from memory, from a call that another request had begun, or from
    a call of its own."""

    MEMORY = "memory"
    SHARED = "shared"
    CALL = "call"


@dataclass(slots=True)
class _Answer:
    """`began_at` is when its call began."""

    began_at: float
    response: Response
    size_bytes: int


@dataclass(slots=True)
class _Call:
    """A call under way. `done` gets its answer, or None if it failed."""

    began_at: float
    done: asyncio.Future[Response | None]


class AnswerMemory:
    """The answers and the calls of all routes."""

    def __init__(
        self,
        count: Callable[[Source], None] = lambda source: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_answers: int = MAX_ANSWERS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`count` is called for each answer that is asked for."""
        self._count = count
        self._clock = clock
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._calls: dict[Key, _Call] = {}
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The bytes of bodies and keys that are remembered."""
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._answers)

    def remembered(self, key: Key, max_age_seconds: float) -> Response | None:
        """The answer for a key, at most that old; None if there is none."""
        known = self._answers.get(key)
        if known is None or self._clock() - known.began_at >= max_age_seconds:
            return None
        self._count(Source.MEMORY)
        return known.response

    async def called(
        self, key: Key, max_age_seconds: float, call: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer of the call under way for the key, at most that old, or else of `call`, whose
        answer is remembered. Raises what `call` raises."""
        under_way = self._calls.get(key)
        if under_way is not None and self._clock() - under_way.began_at < max_age_seconds:
            # Shielded, because a client that leaves must not end what others wait for.
            response = await asyncio.shield(under_way.done)
            if response is not None:
                self._count(Source.SHARED)
                return response
        self._count(Source.CALL)
        return await self._call(key, call)

    async def _call(self, key: Key, call: Callable[[], Awaitable[Response]]) -> Response:
        """The answer of a new call, which is remembered."""
        this = _Call(self._clock(), asyncio.get_running_loop().create_future())
        self._calls[key] = this
        response: Response | None = None
        try:
            response = await call()
            self._remember(key, this.began_at, response)
            return response
        finally:
            if self._calls.get(key) is this:
                del self._calls[key]
            this.done.set_result(response)

    def _remember(self, key: Key, began_at: float, response: Response) -> None:
        size_bytes = len(response.body) + sum(len(part) for part in key)
        known = self._answers.get(key)
        if size_bytes > self._max_bytes or (known is not None and known.began_at > began_at):
            return
        if known is not None:
            self._forget(key)
        self._answers[key] = _Answer(began_at, response, size_bytes)
        self._size_bytes += size_bytes
        while len(self._answers) > self._max_answers or self._size_bytes > self._max_bytes:
            self._forget(next(iter(self._answers)))

    def _forget(self, key: Key) -> None:
        self._size_bytes -= self._answers.pop(key).size_bytes
