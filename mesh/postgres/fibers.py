"""Runs blocking psycopg2 code on the event loop, in fibers (greenlets).

psycopg2 calls our wait callback whenever it would wait for its socket. In a fiber, the callback
suspends the fiber until the socket is ready; the event loop runs other work meanwhile. There
are no threads to wake up and no contention for the GIL: on a small machine each of these costs
more than the statement. Code outside a fiber simply blocks.

Work that was started always finishes, even if its awaiter has been cancelled.

A fiber never calls the event loop itself; the loop side does so on the fiber's behalf.
Greenlets share one C stack: while a fiber runs, C frames of the event loop may be swapped out.
libuv keeps the results of a poll and the list of due timers in such frames, and writes to them
when a socket is unwatched or a timer is cancelled. Calling the loop from a fiber would
therefore corrupt memory.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, set_wait_callback
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extras import wait_select

from mesh.postgres.socket_watch import BriefWait, Wait, WatchedConnection

T = TypeVar("T")


def _nothing() -> None:
    """No-op callback."""


class WaitedTooLong(Exception):
    """A fiber's socket did not become ready in time, or the loop cannot watch it."""


class Fibers:
    """Runs pieces of work in fibers. Use it in one thread.

    A fiber that has ended its work is kept for the next one. A new one costs as much as a small
    statement, because Python maps memory for its frames.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._idle: list[Fiber] = []

    def start(
        self,
        work: Callable[[], T],
        timeout_seconds: float,
        on_end: Callable[[], None] = _nothing,
    ) -> "asyncio.Future[T]":
        """Starts `work` at once on the running loop, runs it until it first waits, and returns
        the future of its result. A wait that exceeds the timeout, or that the loop refuses,
        raises WaitedTooLong inside `work`. `on_end` is called on the loop side in every case,
        even if the awaiter was cancelled; only if this raises, it is not."""
        # Only in the greenlet of the event loop may the loop be called.
        assert not isinstance(getcurrent(), Fiber), "a fiber must not start another"
        fiber = self._idle.pop() if self._idle else Fiber(self._clock, self._idle)
        return fiber.begin(work, timeout_seconds, on_end)


class Fiber(greenlet):
    """Runs one piece of work after another."""

    _timer: asyncio.TimerHandle
    """Of the wait, while there is one."""

    def __init__(self, clock: Callable[[], float], idle: "list[Fiber]") -> None:
        """The fiber adds itself to `idle` whenever its work has ended."""
        super().__init__(self._serve)
        assert self.parent is not None, "it is running"
        self._loop_side = self.parent
        self._clock = clock
        self._idle = idle
        # The work's own deadline first, then those of nested `at_most` contexts.
        self._give_up_at: list[float] = []
        self._wait: Wait | None = None

    def begin(
        self, work: Callable[[], T], timeout_seconds: float, on_end: Callable[[], None]
    ) -> "asyncio.Future[T]":
        """See `Fibers.start`. The fiber must be idle."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._work: Callable[[], object] = work
        self._on_end = on_end
        self._outcome: asyncio.Future[Any] = outcome
        self._result: object = None
        self._error: BaseException | None = None
        self._give_up_at = [self._clock() + timeout_seconds]
        # A greenlet has an empty context: logs in the fiber need the call's trace.
        self.gr_context = copy_context()
        self._go_on()
        return outcome

    def wait_for(self, fd: int, *, to_write: bool) -> None:
        """Suspends the fiber until the file descriptor is ready. Raises WaitedTooLong. Call it
        from inside the fiber only."""
        self.wait(BriefWait(fd, to_write=to_write))

    def wait(self, wait: Wait) -> None:
        """As `wait_for`, for any wait."""
        # It is what `switch` and `throw` return in `_go_on`.
        self._loop_side.switch(wait)

    @contextmanager
    def hurried(self, timeout_seconds: float) -> Iterator[None]:
        """See `at_most`."""
        self._give_up_at.append(self._clock() + timeout_seconds)
        try:
            yield
        finally:
            self._give_up_at.pop()

    def _serve(self) -> None:
        while True:
            try:
                self._result = self._work()
            except GreenletExit:
                raise
            except BaseException as error:  # noqa: BLE001 (the outcome carries it)
                self._error = error
            self._loop_side.switch(None)

    def _go_on(self, error: Exception | None = None) -> None:
        """Runs on the loop side: resumes the fiber, with an error at its wait if there is one.
        Then waits on its behalf, or ends its work."""
        # Before the fiber runs, since it may close the socket, and the number be used again.
        if self._wait is not None:
            self._wait.end()
            self._timer.cancel()
        # Returns when the fiber waits again, with its wait, or None when its work has ended.
        self._wait = self.switch() if error is None else self.throw(error)
        if self._wait is None:
            self._end()
            return
        delay_seconds = max(0.0, min(self._give_up_at) - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay_seconds, self._give_up)
        try:
            self._wait.begin(self._go_on)
        except Exception as refused:  # noqa: BLE001 (the work ends by it, or waits again)
            too_long = WaitedTooLong("the loop cannot watch the socket")
            too_long.__cause__ = refused
            self._go_on(too_long)

    def _give_up(self) -> None:
        self._go_on(WaitedTooLong())

    def _end(self) -> None:
        outcome, on_end, result, error = self._outcome, self._on_end, self._result, self._error
        # What the work refers to must not live until the next work.
        del self._outcome, self._on_end, self._result, self._error, self._work
        self.gr_context = None
        self._idle.append(self)
        on_end()
        if outcome.done():  # the awaiter was cancelled
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)


@contextmanager
def at_most(timeout_seconds: float) -> Iterator[None]:
    """Shortens the fiber's deadline within the context: a wait beyond it raises WaitedTooLong.
    Call it from inside a fiber only."""
    fiber = getcurrent()
    assert isinstance(fiber, Fiber), "only a fiber has a deadline"
    with fiber.hurried(timeout_seconds):
        yield


def let_psycopg2_wait_in_fibers() -> None:
    """Installs the wait callback for the whole process. Idempotent."""
    set_wait_callback(_wait)


def _wait(connection: Connection) -> None:
    fiber = getcurrent()
    # Also called outside fibers, since psycopg2 has one callback for the whole process.
    if not isinstance(fiber, Fiber):
        wait_select(connection)
        return
    watch = connection.watch if isinstance(connection, WatchedConnection) else None
    while (state := connection.poll()) != POLL_OK:
        if watch is not None and state == POLL_READ:
            fiber.wait(watch)
        else:
            fiber.wait_for(connection.fileno(), to_write=state == POLL_WRITE)
