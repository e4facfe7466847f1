"""The life of a process: its event loop, its signals, and its leaving.

SIGTERM and SIGINT ask it to leave: health says NOT_SERVING, the registry says
draining, callers get a moment to notice, the calls in flight end, and then the
process does.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog
import uvloop

from mesh.process.listening import ListenFailed
from mesh.process.server import Server

NOTICE_SECONDS = 0.3
DRAIN_SECONDS = 10.0
YOUNG_OBJECTS_BEFORE_COLLECTION = 50_000
log = structlog.get_logger()


def freeze_gc() -> None:
    """Tells the garbage collector that what a start has built stays, and to look less often:
    requests leave few cycles behind, and a collection walks over everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_BEFORE_COLLECTION, 20, 50)


class Leaving(Protocol):
    """An entry in the registry that can be taken back."""

    async def drain(self) -> None:
        """Tells the registry that no new calls are wanted."""
        ...

    async def deregister(self) -> None:
        """Takes the entry off the list."""
        ...


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a process's main coroutine to its end; ends the process with one sentence
    where its address cannot be listened on."""
    try:
        uvloop.run(main)
    except ListenFailed as error:
        sys.exit(str(error))


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve_until_told_to_stop(
    server: Server, register: Callable[[int], Awaitable[Leaving | None]]
) -> None:
    """Serves from now until a signal, then leaves in good order.

    `register` is given the port, once the server listens on it.
    """
    stop = stop_signal()
    await server.start()
    freeze_gc()
    registration = await register(server.port)
    log.info("serve", port=server.port)
    await stop.wait()
    log.info("drain")
    await server.refuse_new_calls()
    if registration is not None:
        await registration.drain()
        await asyncio.sleep(NOTICE_SECONDS)
    await server.stop(DRAIN_SECONDS)
    if registration is not None:
        await registration.deregister()
    log.info("leave")
