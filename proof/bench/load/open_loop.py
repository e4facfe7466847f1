"""The process that generates open-loop load: `python -m proof.bench.load.open_loop`.

It sends at a fixed rate, independent of the answers. It reads its settings as one line of JSON
from standard input; its result is the last line of standard output. It prints "opened" when its
window begins.

If every connection waits for an answer, a request is sent late, and its latency counts from its
due time. With `drops` such a request is counted and not sent.
"""

import asyncio
import secrets
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson
import uvloop

from mesh.process.priority import LEAST_URGENT, become_less_urgent
from proof.bench.load.scenarios import requests_of
from proof.bench.load.window import OPENED, percentile, write_line
from proof.load.http1 import Answer, Connection, connect

TICK_SECONDS = 0.002
LAST_ANSWERS_SECONDS = 12.0
OK = 200


@dataclass(frozen=True, slots=True)
class OpenLoopSettings:
    """`heads` are `scenarios.request_head`, used in turn."""

    host: str
    port: int
    connection_count: int
    requests_per_second: float
    warm_up_seconds: float
    window_seconds: float
    heads: Sequence[str]
    body: str
    is_keyed: bool
    drops: bool
    is_least_urgent: bool
    ca_file: str | None = None
    """The CA file to verify the gateway; None for plain HTTP."""


@dataclass(slots=True)
class OpenLoopResult:
    """The outcomes of the requests that were due within the window; latencies are those of
    answers with status 200."""

    duration_seconds: float = 0.0
    offered_count: int = 0
    unsent_count: int = 0
    lost_count: int = 0
    answer_counts: dict[int, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class OpenLoop:
    """Sends over a fixed number of connections; a broken one is replaced."""

    def __init__(self, settings: OpenLoopSettings, requests: Iterator[bytes]) -> None:
        self._settings = settings
        ca_file = settings.ca_file
        self._trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self._requests = requests
        self._idle: list[Connection] = []
        self._overdue: deque[float] = deque()
        self._asked_at: dict[Connection, float] = {}
        self._opened_at = 0.0
        self._latencies_seconds: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.result = OpenLoopResult()
        self.waiting_count = 0

    async def run(self) -> None:
        """Returns when the window has ended and each request is answered or late."""
        settings = self._settings
        await asyncio.gather(*(self._connect() for _ in range(settings.connection_count)))
        await self._offer_at_rate(settings.warm_up_seconds)
        self._opened_at = time.perf_counter()
        write_line(OPENED)
        await self._offer_at_rate(settings.window_seconds)
        self.result.duration_seconds = time.perf_counter() - self._opened_at
        until = time.perf_counter() + LAST_ANSWERS_SECONDS
        while time.perf_counter() < until:
            if not (self.waiting_count or self._overdue):
                break
            await asyncio.sleep(TICK_SECONDS)
        ascending = sorted(self._latencies_seconds)
        self.result.p50_ms = percentile(ascending, 0.50) * 1000
        self.result.p99_ms = percentile(ascending, 0.99) * 1000

    async def _offer_at_rate(self, seconds: float) -> None:
        began_at = time.perf_counter()
        due_count = 0
        while (elapsed_seconds := time.perf_counter() - began_at) < seconds:
            for number in range(
                due_count, int(elapsed_seconds * self._settings.requests_per_second)
            ):
                self._offer(began_at + number / self._settings.requests_per_second)
                due_count = number + 1
            await asyncio.sleep(TICK_SECONDS)

    def _offer(self, at: float) -> None:
        if self._counts(at):
            self.result.offered_count += 1
        if self._idle:
            self._send(self._idle.pop(), at)
        elif not self._settings.drops:
            self._overdue.append(at)
        elif self._counts(at):
            self.result.unsent_count += 1

    def _counts(self, at: float) -> bool:
        return bool(self._opened_at) and at >= self._opened_at

    def _send(self, connection: Connection, at: float) -> None:
        self.waiting_count += 1
        self._asked_at[connection] = at
        connection.send(next(self._requests))

    async def _connect(self) -> None:
        def take(answer: Answer) -> None:
            self._record(self._asked_at.pop(connection), answer.status)
            self._use(connection)

        def lose(_error: ConnectionError) -> None:
            at = self._asked_at.pop(connection, None)
            if at is not None:
                self._record(at, None)
            elif connection in self._idle:
                self._idle.remove(connection)
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        connection = await connect(
            self._settings.host, self._settings.port, take, lose, self._trust
        )
        self._use(connection)

    def _use(self, connection: Connection) -> None:
        if self._overdue:
            self._send(connection, self._overdue.popleft())
        else:
            self._idle.append(connection)

    def _record(self, at: float, status: int | None) -> None:
        self.waiting_count -= 1
        if not self._counts(at):
            return
        if status is None:
            self.result.lost_count += 1
            return
        counts = self.result.answer_counts
        counts[status] = counts.get(status, 0) + 1
        if status == OK:
            self._latencies_seconds.append(time.perf_counter() - at)


def main() -> None:
    settings = OpenLoopSettings(**orjson.loads(sys.stdin.readline()))
    if settings.is_least_urgent:
        become_less_urgent(LEAST_URGENT)
    key = f"bench-{secrets.token_hex(6)}-" if settings.is_keyed else ""
    load = OpenLoop(
        settings,
        requests_of([(head, settings.body) for head in settings.heads], key),
    )
    uvloop.run(load.run())
    write_line(orjson.dumps(load.result, option=orjson.OPT_NON_STR_KEYS).decode())


if __name__ == "__main__":
    main()
