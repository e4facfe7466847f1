"""Answers that the gateway sends again for a moment before it calls anew.

Guarantees: an answer is sent only to requests that came less than `max_age_seconds` after its call
began, whatever happens meanwhile: nothing has to reach the gateway for an answer to end. So several
gateways need no word of one another, and a restarted one remembers nothing. Requests that come
while a call for the same is under way share its answer, or its error. Errors are not remembered:
while no instance answers, neither does the gateway once the answer is too old.

A call belongs to none of its requests: it goes on when the client leaves that came first.
Entries and bytes are bounded; the answer whose call is oldest is forgotten first. For one event
loop; the clock is monotonic, in seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
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
    """A call under way."""

    began_at: float
    task: asyncio.Task[Response]


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
        self, key: Key, max_age_seconds: float, call: Callable[[], Coroutine[None, None, Response]]
    ) -> Response:
        """The answer of the call under way for the key, at most that old, or else of `call`, whose
        answer is remembered. Raises what the call raises."""
        this = self._calls.get(key)
        if this is not None and self._clock() - this.began_at < max_age_seconds:
            self._count(Source.SHARED)
        else:
            self._count(Source.CALL)
            this = self._begin(key, call())
        # Shielded, because a client that leaves must not end what others wait for.
        return await asyncio.shield(this.task)

    def _begin(self, key: Key, call: Coroutine[None, None, Response]) -> _Call:
        this = _Call(self._clock(), asyncio.create_task(call))
        self._calls[key] = this
        this.task.add_done_callback(lambda task: self._end(key, this))
        return this

    def _end(self, key: Key, this: _Call) -> None:
        if self._calls.get(key) is this:
            del self._calls[key]
        # Reading the error also keeps asyncio from reporting it where all clients have left.
        if not this.task.cancelled() and this.task.exception() is None:
            self._remember(key, this.began_at, this.task.result())

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
