"""One connection to each address, made when it is first needed.

An address that is no longer wanted keeps its connection for a grace in which the
calls on it may end, or until it is wanted again.
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
        self._closings: set[asyncio.Task[None]] = set()

    def __contains__(self, address: str) -> bool:
        return address in self._open

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
                    self._closing_grace_seconds, partial(self._begin_closing, address)
                )

    async def close(self) -> None:
        """Closes all of them now."""
        for timer in self._unwanted.values():
            timer.cancel()
        for address in list(self._open):
            self._begin_closing(address)
        await asyncio.gather(*self._closings)

    def _begin_closing(self, address: str) -> None:
        self._unwanted.pop(address, None)
        task = asyncio.get_running_loop().create_task(self._open.pop(address).close())
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)
