"""The lifecycle of a process: start, serve until a signal, shut down gracefully, close all.

Guarantees:
- Everything that was opened is closed in reverse order, however the process ends: by a signal
  (also during start-up), an exception, cancellation, or a failed background task. A failing
  close does not prevent the others.
- SIGTERM and SIGINT start a graceful shutdown: health says NOT_SERVING, the registry lists the
  instance as draining, callers get a moment to notice, running calls end, and the registry entry
  is removed. A signal during start-up cancels the start.
- A background task that ends by itself shuts the process down in the same order, be it one of
  `run_in_background` or any other `mesh.background.BackgroundTask`. Its error is raised, so that
  the supervisor restarts the process.

It knows neither gRPC nor HTTP: it serves a `Server`.
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

from mesh.background import ENDED_TASK, BackgroundTask, EndedByItself
from mesh.process.listening import ListenFailed
from mesh.process.open_files import raise_limit

NOTICE_SECONDS = 0.3
GRACE_SECONDS = 10.0
YOUNG_OBJECTS_BEFORE_COLLECTION = 50_000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


class Server(Protocol):
    """A server on one address."""

    async def start(self) -> None:
        """Starts serving. Raises ListenFailed."""
        ...

    @property
    def address(self) -> str:
        """host:port, once it has started."""
        ...

    async def refuse_new_calls(self) -> None:
        """Makes the health check report NOT_SERVING; calls are still answered."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Accepts no new calls. Returns when the running ones have ended, or after the grace
        period. It may be called after a failed start."""
        ...


class Entry(Protocol):
    """This process's entry in the registry."""

    def start(self) -> None:
        """Starts maintaining the entry."""
        ...

    async def drain(self) -> None:
        """Marks the entry as draining."""
        ...

    async def deregister(self) -> None:
        """Removes the entry."""
        ...


class Runtime(AsyncExitStack):
    """One process. Use it once, with `async with`, around everything that the process does.

    What is opened inside is registered as with any AsyncExitStack:

        async with Runtime() as runtime:
            directory.start()
            runtime.push_async_callback(directory.close)
            runtime.run_in_background(cache.keep_refreshing)
            await runtime.serve(server, lambda address: Registration(...))
    """

    def __init__(self, *, notice_seconds: float = NOTICE_SECONDS) -> None:
        """`notice_seconds` is how long calls are still accepted after the entry is draining."""
        super().__init__()
        self._notice_seconds = notice_seconds
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._is_start_cancelled = False

    async def __aenter__(self) -> Self:
        """Handles the stop signals and the ends of background tasks from now on, as long as the
        loop runs."""
        await super().__aenter__()
        self._starting = asyncio.current_task()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Closes everything. Raises the error of a background task that ended."""
        self._starting = None
        is_start_ended = self._take_back_cancellation() and kind is asyncio.CancelledError
        if is_start_ended:
            kind = error = traceback = None
        is_suppressed = await super().__aexit__(kind, error, traceback)
        if self._failure is not None and error is None:
            raise self._failure
        return is_suppressed or is_start_ended

    def stop(self) -> None:
        """Starts the shutdown, as a signal does. Idempotent."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._starting is not None:
            self._is_start_cancelled = True
            self._starting.cancel()

    def run_in_background(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str = ""
    ) -> BackgroundTask:
        """Runs `work` in a task that is cancelled when the runtime closes. If it ends before
        `stop`, the process shuts down and raises its error, or EndedByItself if it returned."""
        task = BackgroundTask(work(), name or str(getattr(work, "__qualname__", "work")))
        self.push_async_callback(task.end)
        return task

    async def serve(self, server: Server, entry_at: Callable[[str], Entry]) -> None:
        """Serves until `stop`, then shuts down gracefully. `entry_at` makes the registry entry
        for the server's address. Raises ListenFailed."""
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
                await server.stop(GRACE_SECONDS)
        log.info("leave")

    async def until_stopped(self) -> None:
        """Ends the start-up. Returns at a signal, or when a background task has ended."""
        self._starting = None
        await self._stopping.wait()

    def _take_back_cancellation(self) -> bool:
        """Whether `stop` cancelled the start and the task was not also cancelled from outside;
        asyncio.timeout uses the same method."""
        task = asyncio.current_task()
        return self._is_start_cancelled and task is not None and task.uncancel() == 0

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if ENDED_TASK not in context:
            loop.default_exception_handler(context)
            return
        error = context["exception"]
        if self._stopping.is_set() and isinstance(error, EndedByItself):
            return
        log.error("end_background_task", task=context[ENDED_TASK], exc_info=error)
        if not self._stopping.is_set():
            self._failure = error
            self.stop()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a process's main coroutine to its end, with as many open files as the system allows.
    Ends the process with one sentence if it cannot listen on its address."""
    raise_limit()
    try:
        uvloop.run(main)
    except ListenFailed as error:
        sys.exit(str(error))


def freeze_gc() -> None:
    """Exempts the objects of the start-up from garbage collection, and makes collections
    rarer: requests leave few reference cycles, and a collection visits every object."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_BEFORE_COLLECTION, 20, 50)
