"""What a fiber waits for: a socket.

The loop keeps its reader of a connection from one wait to the next. Adding and removing it for
each wait costs more than the wait itself.

Only the loop side may call what is here (`mesh.postgres.fibers`). A `SocketWatch` may also be made
in a fiber.
"""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Protocol

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)


class Wait(Protocol):
    """Something that becomes ready."""

    def begin(self, on_ready: Callable[[], None]) -> None:
        """Calls `on_ready` when it is ready."""
        ...

    def end(self) -> None:
        """Does not call back any more. Idempotent; also after it has called back."""
        ...


class BriefWait:
    """A wait for a file descriptor that is watched only meanwhile."""

    def __init__(self, fd: int, *, to_write: bool) -> None:
        self._fd = fd
        self._to_write = to_write
        self._unwatch: Callable[[int], object] | None = None

    def begin(self, on_ready: Callable[[], None]) -> None:
        """See `Wait`."""
        loop = asyncio.get_running_loop()
        if self._to_write:
            loop.add_writer(self._fd, on_ready)
            self._unwatch = loop.remove_writer
        else:
            loop.add_reader(self._fd, on_ready)
            self._unwatch = loop.remove_reader

    def end(self) -> None:
        """See `Wait`."""
        if self._unwatch is not None:
            self._unwatch(self._fd)
            self._unwatch = None


class SocketWatch:
    """Watches a connection's socket until it is closed. Each time that it is asked to, it calls
    back when there is something to read. Several event loops may use it, one after another."""

    def __init__(self, fd: int) -> None:
        """The watch has a duplicate of `fd`, for the loop must not watch a number that libpq may
        close, and that may then be used again. Raises OSError if there is no room for it."""
        self._fd = os.dup(fd)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_ready: Callable[[], None] | None = None
        # Whether the connection was reset or closed by the other side.
        self._end_of_connection = select.poll()
        self._end_of_connection.register(self._fd, select.POLLRDHUP)

    def begin(self, on_ready: Callable[[], None]) -> None:
        """See `Wait`."""
        self._on_ready = on_ready
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            loop.add_reader(self._fd, self._call_back)
            self._loop = loop
        elif self._end_of_connection.poll(0):
            # libuv reports a reset once, and not again to a reader that is kept.
            loop.call_soon(self._call_back)

    def end(self) -> None:
        """See `Wait`."""
        self._on_ready = None

    def close(self) -> None:
        """Call it once, when the connection is closed."""
        self._stop()
        os.close(self._fd)

    def _call_back(self) -> None:
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is None:
            # Nobody asked: it is the connection's end, or a notice for the next statement to
            # read. The loop would report it without a pause.
            self._stop()
        else:
            on_ready()

    def _stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self._loop = None


class WatchedConnection(Connection):
    """A connection with the watch of its socket. Whoever closes the connection closes the watch
    too, on the loop side."""

    watch: SocketWatch | None = None
    """None until the connection is made: its socket may change before."""
