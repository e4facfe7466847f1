"""Lets code that waits for a database be written as if it blocked, on the event loop.

psycopg2 calls a function of ours whenever it would wait for its socket. Work that runs
in a fiber (a greenlet) is set aside there until the socket is ready, and the loop goes
on with something else. So there are no threads to wake up and no lock of the
interpreter to wait for: on a small machine each of these costs more than the
statement. Code that runs outside a fiber simply blocks.

A fiber that was started is finished even if nobody waits for it any more.

A fiber never touches the event loop itself: its loop side does, on the fiber's behalf.
Greenlets take turns on one C stack, and while a fiber runs, frames of the loop may be set
aside. libuv keeps in such frames what one poll returned and which timers are due, and
writes there when a socket is no longer watched or a timer is cancelled.
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
    """What there is to do at an end that nobody waits for."""


class WaitedTooLong(Exception):
    """What a fiber waited for gave no answer in time."""


class Fiber(greenlet, Generic[T]):
    """One piece of work on the loop that runs now; `outcome` has its end."""

    def __init__(
        self,
        work: Callable[[], T],
        timeout_seconds: float,
        on_end: Callable[[], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts at once, and runs until it waits for the first time. What waits when the
        time is over raises WaitedTooLong there. `on_end` is called on the loop's side,
        however it ends and whether or not anybody waits for it."""
        super().__init__(self._run)
        assert self.parent is not None, "it is running"
        assert not isinstance(self.parent, Fiber), "a fiber starts none"
        self._loop_side = self.parent
        self._work = work
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._give_up_at = [clock() + timeout_seconds]
        self._watched: tuple[Callable[[int], object], int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._result: list[T] = []
        self._error: Exception | None = None
        self.outcome: asyncio.Future[T] = self._loop.create_future()
        self.gr_context = copy_context()
        self._go_on(self.switch)

    def wait_for(self, fd: int, *, to_write: bool) -> None:
        """Returns when the file descriptor is ready. Raises WaitedTooLong. Called within."""
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
        """On the loop's side: enters the fiber, and then waits on its behalf, or ends it."""
        self._stop_watching()
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
        if self.outcome.done():  # whoever waited has gone
            return
        if self._error is not None:
            self.outcome.set_exception(self._error)
        else:
            self.outcome.set_result(self._result[0])


@contextmanager
def at_most(timeout_seconds: float) -> Iterator[None]:
    """What waits within the context raises WaitedTooLong once this time is over, if that is
    before the fiber's own. For code that runs in a fiber."""
    fiber = getcurrent()
    assert isinstance(fiber, Fiber), "only a fiber can be told to give up"
    with fiber.hurried(timeout_seconds):
        yield


def let_psycopg2_wait_in_fibers() -> None:
    """For the whole process. Idempotent."""
    set_wait_callback(_wait)


def _wait(connection: Connection) -> None:
    fiber = getcurrent()
    if not isinstance(fiber, Fiber):
        wait_select(connection)
        return
    while (state := connection.poll()) != POLL_OK:
        fiber.wait_for(connection.fileno(), to_write=state == POLL_WRITE)
