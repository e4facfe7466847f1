"""The process that asks at a rate, whatever the answers do: `python -m proof.bench.load.open_loop`.

Its orders are a line on standard input, its result the last line of standard output.
Open loop: a request that cannot be sent at its time, for every connection waits for an
answer, is sent later and its latency counts from its time; or, where `drops`, is not
sent at all and counted. It says "opened" when its window begins.
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
from proof.bench.load.http1 import Answer, Connection, connect
from proof.bench.load.scenarios import requests_of
from proof.bench.load.window import OPENED, percentile, tell

TICK_SECONDS = 0.002
LAST_ANSWERS_SECONDS = 12.0
OK = 200


@dataclass(frozen=True, slots=True)
class PacedOrders:
    """`heads` are `scenarios.request_head`, used in turn."""

    host: str
    port: int
    connection_count: int
    a_second: float
    warm_up_seconds: float
    window_seconds: float
    heads: Sequence[str]
    body: str
    is_keyed: bool
    drops: bool
    is_least_urgent: bool
    ca_file: str | None = None
    """Whom to believe that the gateway is; None for plain HTTP."""


@dataclass(slots=True)
class PacedResult:
    """What became of the requests whose time was within the window; latencies are of those
    that were answered with 200."""

    duration_seconds: float = 0.0
    offered_count: int = 0
    unsent_count: int = 0
    lost_count: int = 0
    answer_counts: dict[int, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class PacedLoad:
    """Asks over a fixed number of connections, each replaced when it breaks."""

    def __init__(self, orders: PacedOrders, requests: Iterator[bytes]) -> None:
        self._orders = orders
        ca_file = orders.ca_file
        self._trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self._requests = requests
        self._idle: list[Connection] = []
        self._late: deque[float] = deque()
        self._asked_at: dict[Connection, float] = {}
        self._opened_at = 0.0
        self._latencies_seconds: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.result = PacedResult()
        self.waiting_count = 0

    async def run(self) -> None:
        """Until the window is over and what was sent is answered, or late."""
        orders = self._orders
        await asyncio.gather(*(self._connect() for _ in range(orders.connection_count)))
        await self._keep_pace(orders.warm_up_seconds)
        self._opened_at = time.perf_counter()
        tell(OPENED)
        await self._keep_pace(orders.window_seconds)
        self.result.duration_seconds = time.perf_counter() - self._opened_at
        until = time.perf_counter() + LAST_ANSWERS_SECONDS
        while time.perf_counter() < until:
            if not (self.waiting_count or self._late):
                break
            await asyncio.sleep(TICK_SECONDS)
        ascending = sorted(self._latencies_seconds)
        self.result.p50_ms = percentile(ascending, 0.50) * 1000
        self.result.p99_ms = percentile(ascending, 0.99) * 1000

    async def _keep_pace(self, seconds: float) -> None:
        began_at = time.perf_counter()
        due_count = 0
        while (elapsed_seconds := time.perf_counter() - began_at) < seconds:
            for number in range(due_count, int(elapsed_seconds * self._orders.a_second)):
                self._offer(began_at + number / self._orders.a_second)
                due_count = number + 1
            await asyncio.sleep(TICK_SECONDS)

    def _offer(self, at: float) -> None:
        if self._counts(at):
            self.result.offered_count += 1
        if self._idle:
            self._send(self._idle.pop(), at)
        elif not self._orders.drops:
            self._late.append(at)
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
            self._note(self._asked_at.pop(connection), answer.status)
            self._go_on(connection)

        def lose(_error: ConnectionError) -> None:
            at = self._asked_at.pop(connection, None)
            if at is not None:
                self._note(at, None)
            elif connection in self._idle:
                self._idle.remove(connection)
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        connection = await connect(self._orders.host, self._orders.port, take, lose, self._trust)
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        if self._late:
            self._send(connection, self._late.popleft())
        else:
            self._idle.append(connection)

    def _note(self, at: float, status: int | None) -> None:
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
    orders = PacedOrders(**orjson.loads(sys.stdin.readline()))
    if orders.is_least_urgent:
        become_less_urgent(LEAST_URGENT)
    key = f"bench-{secrets.token_hex(6)}-" if orders.is_keyed else ""
    load = PacedLoad(
        orders, requests_of([head.encode() for head in orders.heads], key, orders.body.encode())
    )
    uvloop.run(load.run())
    tell(orjson.dumps(load.result, option=orjson.OPT_NON_STR_KEYS).decode())


if __name__ == "__main__":
    main()
