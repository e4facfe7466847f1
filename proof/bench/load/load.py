"""The process that makes the load: `python -m proof.bench.load.load`, its orders on standard input.

Closed loop: every connection sends its next request when it has the answer to the
last. Each connection has players of its own and takes them in turn, so that no player
asks for two things at once. It goes on after the window until it is told to stop (by
the end of its input), and every request that was sent is waited for.
"""

import asyncio
import itertools
import secrets
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import uvloop

from proof.bench.load.closed_loop import Asker
from proof.bench.load.scenarios import requests_of
from proof.bench.load.window import Window, tell_result

WATCH_SECONDS = 1.0


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
    ca_file: str | None = None
    """Whom to believe that the gateway is; None for plain HTTP."""


async def run(orders: LoadOrders, window: Window) -> None:
    """Ends when standard input does, and all that was sent has been answered."""
    trust = ssl.create_default_context(cafile=orders.ca_file) if orders.ca_file else None
    askers = [
        Asker(orders.host, orders.port, requests, window, trust=trust)
        for requests in _of_connections(orders)
    ]
    for asker in askers:
        asker.start()
    watching = asyncio.create_task(_keep_watching(askers))
    await asyncio.sleep(orders.warm_up_seconds)
    window.open()
    await asyncio.sleep(orders.window_seconds)
    window.close()
    await asyncio.to_thread(sys.stdin.read)
    for asker in askers:
        asker.stop()
    await asyncio.gather(*(asker.stopped.wait() for asker in askers))
    watching.cancel()


def _of_connections(orders: LoadOrders) -> Iterator[Iterator[bytes]]:
    """The requests of each connection, all with keys that no other run has."""
    run_id = secrets.token_hex(6)
    for number in range(orders.connection_count):
        key = f"bench-{run_id}-{number}-" if orders.is_keyed else ""
        own = itertools.islice(orders.heads, number, None, orders.connection_count)
        yield requests_of([head.encode() for head in own], key, orders.body.encode())


async def _keep_watching(askers: Sequence[Asker]) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        for asker in askers:
            asker.give_up_if_late()


def main() -> None:
    orders = LoadOrders(**orjson.loads(sys.stdin.readline()))
    window = Window()
    uvloop.run(run(orders, window))
    tell_result(window.result())


if __name__ == "__main__":
    main()
