"""One connection to each address, made when it is first needed.

An address that is no longer wanted keeps its connection for a grace in which the
calls on it may end, or until it is wanted again. A connection that is to be made anew
has the same grace beside the one that comes after it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

CLOSING_GRACE_SECONDS = 60.0


class Closable(Protocol):
    """What is kept."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Breaks the connection and the calls on it."""
        ...


Connection = TypeVar("Connection", bound=Closable)


class Connections(Generic[Connection]):
    """Use it in one event loop alone."""

    def __init__(self, connect: Callable[[str], Connection], closing_grace_seconds: float) -> None:
        """`connect` makes the connection to an address, host:port, without waiting."""
        self._connect = connect
        self._closing_grace_seconds = closing_grace_seconds
        self._open: dict[str, Connection] = {}
        self._unwanted: dict[str, asyncio.TimerHandle] = {}
        self._replaced: dict[Connection, asyncio.TimerHandle] = {}
        self._closings: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> frozenset[str]:
        """Those that a connection is kept for."""
        return frozenset(self._open)

    def to(self, address: str) -> Connection:
        """The connection to that address."""
        found = self._open.get(address)
        if found is None:
            found = self._open[address] = self._connect(address)
        return found

    def retain(self, addresses: Iterable[str]) -> None:
        """Closes the connections to all other addresses, after the grace."""
        wanted = set(addresses)
        for address in self._open:
            if address in wanted:
                timer = self._unwanted.pop(address, None)
                if timer is not None:
                    timer.cancel()
            elif address not in self._unwanted:
                self._unwanted[address] = asyncio.get_running_loop().call_later(
                    self._closing_grace_seconds, partial(self._close_unwanted, address)
                )

    def renew(self) -> None:
        """Has each connection made anew by the next call to its address; those that there
        are close after the grace."""
        for timer in self._unwanted.values():
            timer.cancel()
        self._unwanted.clear()
        for connection in self._open.values():
            self._replaced[connection] = asyncio.get_running_loop().call_later(
                self._closing_grace_seconds, partial(self._close_replaced, connection)
            )
        self._open.clear()

    async def close(self) -> None:
        """Closes all of them now."""
        for timer in (*self._unwanted.values(), *self._replaced.values()):
            timer.cancel()
        for address in list(self._open):
            self._close_unwanted(address)
        for connection in list(self._replaced):
            self._close_replaced(connection)
        await asyncio.gather(*self._closings)

    def _close_unwanted(self, address: str) -> None:
        self._unwanted.pop(address, None)
        self._begin_closing(self._open.pop(address))

    def _close_replaced(self, connection: Connection) -> None:
        del self._replaced[connection]
        self._begin_closing(connection)

    def _begin_closing(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.close())
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)
