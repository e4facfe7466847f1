"""Reads that wait at the same time go together.

The next read leaves when the one before it has ended and takes every key that waits, up
to a bound. There is no timer, and an answer is never older than its question.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

from mesh.errors import ResourceExhausted

MAX_KEYS = 256
MAX_WAITING = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")


class GatheredRead(Generic[Key, Value]):
    """Turns single questions into questions about sets; for one event loop."""

    def __init__(self, read: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        """`read` is asked by one caller at a time, and leaves out the keys that it does
        not know."""
        self._read = read
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """The value of a key, None when there is none. Raises what `read` does, and
        ResourceExhausted when too many wait."""
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
            self._reading = asyncio.create_task(self._keep_reading(), name="gathered-read")
        # Others may wait for the same answer when this caller goes away.
        return await asyncio.shield(waiting)

    async def _keep_reading(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MAX_KEYS]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reading = None

    async def _answer(self, asked: Mapping[Key, "asyncio.Future[Value | None]"]) -> None:
        try:
            found = await self._read(asked.keys())
        except Exception as error:  # noqa: BLE001 (everybody who asked is told)
            for waiting in asked.values():
                waiting.set_exception(error)
                waiting.exception()  # whoever asked may have gone away
            return
        for key, waiting in asked.items():
            waiting.set_result(found.get(key))
