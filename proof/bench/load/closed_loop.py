"""The process that generates closed-loop load: `python -m proof.bench.load.closed_loop`.

It reads its settings as one line of JSON from standard input. Each connection sends its next
request when it has the last answer. Each connection has its own players and uses them in turn,
so that no player sends two requests at once. The load continues after the window until standard
input ends; then the process waits for all answers.
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

from proof.bench.load.closed_loop_client import ClosedLoopClient
from proof.bench.load.scenarios import requests_of
from proof.bench.load.window import Window, write_result

LATE_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ClosedLoopSettings:
    """One point of measurement. `requests` has a `scenarios.request_head` and a body for each
    player; an answer without the text `expected` is an error."""

    host: str
    port: int
    connection_count: int
    warm_up_seconds: float
    window_seconds: float
    requests: Sequence[tuple[str, str]]
    is_keyed: bool
    expected: str = ""
    ca_file: str | None = None
    """The CA file to verify the gateway; None for plain HTTP."""


async def run(settings: ClosedLoopSettings, window: Window) -> None:
    """Returns when standard input has ended and all requests have been answered."""
    trust = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else None
    clients = [
        ClosedLoopClient(
            settings.host,
            settings.port,
            requests,
            window,
            expected=settings.expected.encode(),
            trust=trust,
        )
        for requests in _requests_by_connection(settings)
    ]
    for client in clients:
        client.start()
    watching = asyncio.create_task(_keep_closing_late(clients))
    await asyncio.sleep(settings.warm_up_seconds)
    window.open()
    await asyncio.sleep(settings.window_seconds)
    window.close()
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.stop()
    await asyncio.gather(*(client.stopped.wait() for client in clients))
    watching.cancel()


def _requests_by_connection(settings: ClosedLoopSettings) -> Iterator[Iterator[bytes]]:
    """The requests of each connection, with keys that are unique to this run."""
    run_id = secrets.token_hex(6)
    for number in range(settings.connection_count):
        key = f"bench-{run_id}-{number}-" if settings.is_keyed else ""
        own = itertools.islice(settings.requests, number, None, settings.connection_count)
        yield requests_of(list(own), key)


async def _keep_closing_late(clients: Sequence[ClosedLoopClient]) -> None:
    while True:
        await asyncio.sleep(LATE_CHECK_SECONDS)
        for client in clients:
            client.give_up_if_late()


def main() -> None:
    settings = ClosedLoopSettings(**orjson.loads(sys.stdin.readline()))
    window = Window()
    uvloop.run(run(settings, window))
    write_result(window.result())


if __name__ == "__main__":
    main()
