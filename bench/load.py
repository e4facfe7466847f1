"""The process that makes the load: `python -m bench.load`, its orders on standard input.

Closed loop: every connection sends its next request when it has the answer to the
last. Each connection has players of its own and takes them in turn, so that no player
asks for two things at once. It goes on after the window until it is told to stop (by
the end of its input), and every request that was sent is waited for.
"""

import asyncio
import itertools
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import uvloop

from bench.http1 import Connection, connect
from bench.scenarios import request_of
from bench.window import Window, tell_result

ANSWER_TIMEOUT_SECONDS = 30.0
PAUSE_AFTER_ERROR_SECONDS = 0.05
OK = 200


@dataclass(frozen=True, slots=True)
class LoadOrders:
    """One point of measurement. `heads` are `scenarios.request_head`, one a player."""

    host: str
    port: int
    connection_count: int
    warm_up_seconds: float
    window_seconds: float
    heads: Sequence[str]
    body: str
    is_keyed: bool


class Load:
    """Sends what its orders say until it is told to stop."""

    def __init__(self, orders: LoadOrders, window: Window) -> None:
        self._orders = orders
        self._window = window
        self._body = orders.body.encode()
        self._run = secrets.token_hex(6)
        self._stopping = False

    async def run(self) -> None:
        """Ends when standard input does, and all that was sent has been answered."""
        count = self._orders.connection_count
        asking = [asyncio.create_task(self._keep_asking(number)) for number in range(count)]
        await asyncio.sleep(self._orders.warm_up_seconds)
        self._window.open()
        await asyncio.sleep(self._orders.window_seconds)
        self._window.close()
        await asyncio.to_thread(sys.stdin.read)
        self._stopping = True
        await asyncio.gather(*asking)

    async def _keep_asking(self, number: int) -> None:
        heads = [head.encode() for head in self._orders.heads]
        own = itertools.cycle(heads[number :: self._orders.connection_count])
        connection: Connection | None = None
        for turn in itertools.count():
            if self._stopping:
                break
            key = f"bench-{self._run}-{number}-{turn}" if self._orders.is_keyed else ""
            try:
                if connection is None:
                    connection = await connect(self._orders.host, self._orders.port)
                await self._ask(connection, request_of(next(own), key, self._body))
            except (OSError, TimeoutError) as error:
                self._window.note_error(f"{type(error).__name__}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
        if connection is not None:
            connection.close()

    async def _ask(self, connection: Connection, request: bytes) -> None:
        began_at = time.perf_counter()
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            answer = await connection.exchange(request)
        if answer.status == OK:
            self._window.note(time.perf_counter() - began_at)
            return
        self._window.note_error(f"{answer.status} {answer.body.decode(errors='replace')}")
        await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)


def main() -> None:
    orders = LoadOrders(**orjson.loads(sys.stdin.readline()))
    window = Window()
    uvloop.run(Load(orders, window).run())
    tell_result(window.result())


if __name__ == "__main__":
    main()
