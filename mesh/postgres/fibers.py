"""Runs blocking psycopg2 code on the event loop, in fibers (greenlets).

psycopg2 calls our wait callback whenever it would wait for its socket. In a fiber, the callback
suspends the fiber until the socket is ready; the event loop runs other work meanwhile. There
are no threads to wake up and no contention for the GIL: on a small machine each of these costs
more than the statement. Code outside a fiber simply blocks.

A fiber that was started always finishes, even if its awaiter has been cancelled.

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
from typing import Generic, TypeVar

from greenlet import getcurrent, greenlet
from psycopg2.extensions import POLL_OK, POLL_WRITE, set_wait_callback
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extras import wait_select

T = TypeVar("T")


def _nothing() -> None:
    """No-op callback."""


class WaitedTooLong(Exception):
    """A fiber's socket did not become ready in time."""


class Fiber(greenlet, Generic[T]):
    """One piece of work on the running loop; `outcome` is the future of its result."""

    def __init__(
        self,
        work: Callable[[], T],
        timeout_seconds: float,
        on_end: Callable[[], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts `work` at once and runs it until it first waits. A wait that exceeds the
        timeout raises WaitedTooLong inside `work`. `on_end` is called on the loop side in
        every case, even if the awaiter was cancelled."""
        super().__init__(self._run)
        assert self.parent is not None, "it is running"
        # `_loop_side` must be the greenlet of the event loop: only there is the loop called.
        assert not isinstance(self.parent, Fiber), "a fiber must not start another"
        self._loop_side = self.parent
        self._work = work
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        # The fiber's own deadline first, then those of nested `at_most` contexts.
        self._give_up_at = [clock() + timeout_seconds]
        self._watched: tuple[Callable[[int], object], int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._result: list[T] = []
        self._error: Exception | None = None
        self.outcome: asyncio.Future[T] = self._loop.create_future()
        # A greenlet starts with an empty context: logs in the fiber need the call's trace.
        self.gr_context = copy_context()
        self._go_on(self.switch)

    def wait_for(self, fd: int, *, to_write: bool) -> None:
        """Suspends the fiber until the file descriptor is ready. Raises WaitedTooLong. Call it
        from inside the fiber only."""
        # The tuple is the return value of `enter(...)` in `_go_on`, which watches the socket.
        self._loop_side.switch((fd, to_write))

    @contextmanager
    def hurried(self, timeout_seconds: float) -> Iterator[None]:
        """See `at_most`."""
        self._give_up_at.append(self._clock() + timeout_seconds)
        try:
            yield
        finally:
            self._give_up_at.pop()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:  # noqa: BLE001 (the outcome carries it)
            self._error = error

    def _go_on(self, enter: Callable[..., tuple[int, bool]], *arguments: object) -> None:
        """Runs on the loop side: resumes the fiber, then waits on its behalf or ends it."""
        # Before the fiber runs, since it may close the socket, and the number be used again.
        self._stop_watching()
        # Returns when the fiber waits again (with what it waits for) or has ended.
        awaited = enter(*arguments)
        if self.dead:
            self._end()
        else:
            self._watch(*awaited)

    def _watch(self, fd: int, to_write: bool) -> None:
        if to_write:
            self._loop.add_writer(fd, self._go_on, self.switch)
            self._watched = (self._loop.remove_writer, fd)
        else:
            self._loop.add_reader(fd, self._go_on, self.switch)
            self._watched = (self._loop.remove_reader, fd)
        # On timeout `throw` raises WaitedTooLong at the fiber's wait, inside psycopg2's callback.
        self._timer = self._loop.call_later(
            max(0.0, min(self._give_up_at) - self._clock()),
            self._go_on,
            self.throw,
            WaitedTooLong(),
        )

    def _stop_watching(self) -> None:
        if self._watched is not None:
            remove, fd = self._watched
            self._watched = None
            remove(fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._on_end()
        if self.outcome.done():  # the awaiter was cancelled
            return
        if self._error is not None:
            self.outcome.set_exception(self._error)
        else:
            self.outcome.set_result(self._result[0])


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
    while (state := connection.poll()) != POLL_OK:
        fiber.wait_for(connection.fileno(), to_write=state == POLL_WRITE)
