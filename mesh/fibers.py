"""Lets code that waits for a database be written as if it blocked, on the event loop.

psycopg2 calls a function of ours whenever it would wait for its socket. Work that runs
in a fiber (a greenlet) is set aside there until the socket is ready, and the loop goes
on with something else. So there are no threads to wake up and no lock of the
interpreter to wait for: on a small machine each of these costs more than the
statement. Code that runs outside a fiber simply blocks.

A fiber that was started is finished even if nobody waits for it any more.

A fiber never tells the loop itself what to watch: it tells its loop side, which does.
Greenlets take turns on one C stack, and while a fiber runs, the frames of the loop that
were deeper than its own are set aside. libuv keeps what one poll returned in such a frame,
and writes there when a descriptor is no longer watched.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

from greenlet import getcurrent, greenlet
from psycopg2.extensions import POLL_OK, POLL_WRITE, set_wait_callback
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extras import wait_select

T = TypeVar("T")


def _nothing() -> None:
    """What there is to stop while nothing is watched."""


class WaitedTooLong(Exception):
    """What a fiber waited for gave no answer in time."""


class Fiber(greenlet, Generic[T]):
    """One piece of work on the loop that runs now; `outcome` has its end."""

    def __init__(self, work: Callable[[], T]) -> None:
        """Starts at once, and runs until it waits for the first time."""
        super().__init__(self._finish)
        assert self.parent is not None, "it is running"
        assert not isinstance(self.parent, Fiber), "a fiber starts none"
        self._loop_side = self.parent
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[T] = self._loop.create_future()
        self.gr_context = copy_context()
        self._stop_watching: Callable[[], object] = _nothing
        self._go_on(self.switch)

    def wait_for(self, fd: int, *, to_write: bool) -> None:
        """Returns when the file descriptor is ready. Raises WaitedTooLong. Called within."""
        self._loop_side.switch((fd, to_write))

    def _go_on(self, enter: Callable[..., tuple[int, bool] | None], *arguments: object) -> None:
        """On the loop's side: enters the fiber, and watches what it waits for next."""
        self._stop_watching()
        self._stop_watching = _nothing
        awaited = enter(*arguments)
        if awaited is None:  # the fiber has ended
            return
        fd, to_write = awaited
        if to_write:
            self._loop.add_writer(fd, self._go_on, self.switch)
            self._stop_watching = partial(self._loop.remove_writer, fd)
        else:
            self._loop.add_reader(fd, self._go_on, self.switch)
            self._stop_watching = partial(self._loop.remove_reader, fd)

    def _finish(self) -> None:
        try:
            result = self._work()
        except Exception as error:  # noqa: BLE001 (the outcome carries it)
            if not self.outcome.done():
                self.outcome.set_exception(error)
        else:
            if not self.outcome.done():
                self.outcome.set_result(result)

    @contextmanager
    def at_most(self, timeout_seconds: float) -> Iterator[None]:
        """What waits within the context raises WaitedTooLong once the time is over."""
        timer = self._loop.call_later(timeout_seconds, self._go_on, self.throw, WaitedTooLong())
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def at_most(timeout_seconds: float) -> Iterator[None]:
    """`Fiber.at_most` of the fiber that runs now."""
    fiber = getcurrent()
    assert isinstance(fiber, Fiber), "only a fiber can be told to give up"
    with fiber.at_most(timeout_seconds):
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
