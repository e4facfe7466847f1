"""One connection to each address, made on first use.

The connection to an address that is no longer wanted stays open for a grace period, so that
its calls can end; if the address is wanted again meanwhile, it is kept. A connection that is
renewed has the same grace period beside its successor.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

CLOSING_GRACE_SECONDS = 60.0


class Closable(Protocol):
    """A connection."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Breaks the connection and the calls on it."""
        ...


Connection = TypeVar("Connection", bound=Closable)


class Connections(Generic[Connection]):
    """The connections, by address. Use it in one event loop only."""

    def __init__(self, connect: Callable[[str], Connection], closing_grace_seconds: float) -> None:
        """`connect` creates the connection to an address, host:port, without waiting."""
        self._connect = connect
        self._closing_grace_seconds = closing_grace_seconds
        self._open: dict[str, Connection] = {}
        self._unwanted: dict[str, asyncio.TimerHandle] = {}
        self._replaced: dict[Connection, asyncio.TimerHandle] = {}
        self._closings: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses that have a connection."""
        return frozenset(self._open)

    def to(self, address: str) -> Connection:
        """The connection to that address."""
        found = self._open.get(address)
        if found is None:
            found = self._open[address] = self._connect(address)
        return found

    def retain(self, addresses: Iterable[str]) -> None:
        """Closes the connections to all other addresses, after the grace period."""
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
        """Replaces each connection on the next call to its address; the current connections
        close after the grace period."""
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
