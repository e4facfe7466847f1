"""The life of a process: start, serve until a signal, leave in order, close everything.

Guarantees:
- What was opened is closed, in reverse order, however the process ends: by a signal (during
  start-up too), by an exception in any step, by cancellation, or because a background task
  failed. A close that fails does not keep the others from being closed.
- SIGTERM and SIGINT make it leave in order: health says NOT_SERVING, the registry says
  draining, callers get a moment to notice, the calls in flight end, and the entry is taken
  off the list. A signal during start-up ends the start where it waits.
- A background task that fails ends the process in the same order, and its error is raised,
  so that the supervisor starts the process anew.

It knows no gRPC and no HTTP: what it serves is a `Server`.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import structlog
import uvloop

from mesh.process.listening import ListenFailed

NOTICE_SECONDS = 0.3
DRAIN_SECONDS = 10.0
YOUNG_OBJECTS_BEFORE_COLLECTION = 50_000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


class Server(Protocol):
    """What a process serves, on one address."""

    async def start(self) -> None:
        """Begins to serve. Raises ListenFailed."""
        ...

    @property
    def address(self) -> str:
        """host:port, once it has started."""
        ...

    async def refuse_new_calls(self) -> None:
        """Says that the process is leaving, to whoever asks for its health; calls are still
        answered."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new calls, and returns when the running ones have ended, or after the
        grace at the latest. May be called after a start that failed."""
        ...


class Entry(Protocol):
    """This process's entry in the registry."""

    def start(self) -> None:
        """Begins to keep the entry."""
        ...

    async def drain(self) -> None:
        """Tells the registry that no new calls are wanted."""
        ...

    async def deregister(self) -> None:
        """Takes the entry off the list."""
        ...


class Runtime(AsyncExitStack):
    """One process; use it once, with `async with`, around all that the process does.

    What is opened inside is registered as with any AsyncExitStack:

        async with Runtime() as runtime:
            directory.start()
            runtime.push_async_callback(directory.close)
            runtime.run_in_background(cache.keep_refreshing)
            await runtime.serve(server, lambda address: Registration(...))
    """

    def __init__(self, *, notice_seconds: float = NOTICE_SECONDS) -> None:
        """`notice_seconds` is how long calls are still taken after the registry was told."""
        super().__init__()
        self._notice_seconds = notice_seconds
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._is_start_cancelled = False

    async def __aenter__(self) -> Self:
        """Takes the signals over, for as long as the loop runs."""
        await super().__aenter__()
        self._starting = asyncio.current_task()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Closes everything. Raises what a background task failed with."""
        self._starting = None
        is_start_ended = self._take_back_cancellation() and kind is asyncio.CancelledError
        if is_start_ended:
            kind = error = traceback = None
        is_suppressed = await super().__aexit__(kind, error, traceback)
        if self._failure is not None and error is None:
            raise self._failure
        return is_suppressed or is_start_ended

    def stop(self) -> None:
        """Makes the process leave, as a signal does. Idempotent."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._starting is not None:
            self._is_start_cancelled = True
            self._starting.cancel()

    def run_in_background(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str | None = None
    ) -> "asyncio.Task[None]":
        """Runs `work` in a task of its own, until it is closed with all that was opened. Work
        may return; when it raises, the process leaves and raises the error."""
        task = asyncio.create_task(work(), name=name or getattr(work, "__qualname__", None))
        task.add_done_callback(self._notice_failure)
        self.push_async_callback(_cancel, task)
        return task

    async def serve(self, server: Server, entry_at: Callable[[str], Entry]) -> None:
        """Serves until `stop`, then leaves in order. `entry_at` makes the registry's entry for
        the server's address. Raises ListenFailed."""
        async with AsyncExitStack() as listed:
            try:
                await server.start()
                freeze_gc()
                entry = entry_at(server.address)
                entry.start()
                listed.push_async_callback(entry.deregister)
                log.info("serve", address=server.address)
                await self.until_stopped()
                log.info("drain", in_order=self._failure is None)
                await server.refuse_new_calls()
                await entry.drain()
                await asyncio.sleep(self._notice_seconds)
            finally:
                await server.stop(DRAIN_SECONDS)
        log.info("leave")

    async def until_stopped(self) -> None:
        """Ends the start-up: returns at the signal, or when a background task has failed."""
        self._starting = None
        await self._stopping.wait()

    def _take_back_cancellation(self) -> bool:
        """Whether `stop` cancelled the start, and nobody else the task, as asyncio.timeout
        tells its own cancellation from another's."""
        task = asyncio.current_task()
        return self._is_start_cancelled and task is not None and task.uncancel() == 0

    def _notice_failure(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("fail_background_task", task=task.get_name(), exc_info=error)
        if not self._stopping.is_set():
            self._failure = error
            self.stop()


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a process's main coroutine to its end; ends the process with one sentence
    where its address cannot be listened on."""
    try:
        uvloop.run(main)
    except ListenFailed as error:
        sys.exit(str(error))


def freeze_gc() -> None:
    """Exempts what the start has built from garbage collection, and makes it rarer: requests
    leave few cycles behind, and a collection walks over everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_BEFORE_COLLECTION, 20, 50)
