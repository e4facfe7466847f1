"""Coalesces concurrent reads of single keys into reads of key sets.

The next read starts when the previous one has ended, and reads every waiting key up to a
bound. There is no timer. A result is never older than the call that gets it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

from mesh.background import was_asked_to_end
from mesh.errors import Internal, ResourceExhausted

MAX_KEYS = 256
MAX_WAITING = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")


class CoalescedRead(Generic[Key, Value]):
    """Reads single keys in sets. Use it in one event loop only."""

    def __init__(self, read: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        """`read` returns the values of a set of keys and omits unknown keys. It is never called
        concurrently."""
        self._read = read
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """The value of a key; None if there is none. Raises what `read` raises, and
        ResourceExhausted if too many keys wait."""
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING:
                raise ResourceExhausted(
                    "Too many reads are waiting; repeat the call in a moment.",
                    reason="READS_BUSY",
                    retry_after_seconds=1.0,
                )
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._keep_reading(), name="coalesced-read")
        # Others may wait for the same result, so cancelling this caller must not cancel it.
        return await asyncio.shield(waiting)

    async def _keep_reading(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MAX_KEYS]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reading = None

    async def _answer(self, batch: Mapping[Key, "asyncio.Future[Value | None]"]) -> None:
        try:
            found = await self._read(batch.keys())
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            _fail(batch.values(), error)
            return
        except asyncio.CancelledError:
            # Without this, those who wait for a read that was cancelled would wait for ever.
            _fail(batch.values(), Internal("The read was cancelled."))
            if was_asked_to_end():
                raise
            return
        for key, waiting in batch.items():
            waiting.set_result(found.get(key))


def _fail(waiting: "Iterable[asyncio.Future[Value | None]]", error: Exception) -> None:
    for each in waiting:
        each.set_exception(error)
        each.exception()  # marks it as retrieved: the caller may be gone
