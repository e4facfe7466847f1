"""The list as those tell it who only read: followed by one task, and always at hand.

A registry that keeps its leases in memory knows nobody when it starts. Until instances have
had the time to register anew there is no list here, for one with holes would have its
readers drop instances that live; whoever had a list from before keeps that. So it is when a
store that registries share has lost its list: the old one stands meanwhile.
"""

import asyncio
from collections.abc import Callable

import structlog

from mesh.errors import MeshError
from registry.domain import LEASE_SECONDS, Snapshot
from registry.storage import Store, StoreClosed

SETTLE_SECONDS = LEASE_SECONDS + 1.0
"""Longer than an instance needs to find that its lease is gone, and to register again."""
PAUSE_SECONDS = 0.5

log = structlog.get_logger()


class Following:
    """Follows a store. Call `run` beside it."""

    def __init__(
        self,
        store: Store,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        new_list_seconds: float = SETTLE_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`settle_seconds` is waited for the first list, 0 for a store that outlives this
        process; `new_list_seconds` when the store has begun another. The pause is between
        attempts while the store does not answer."""
        self._store = store
        self._settle_seconds = settle_seconds
        self._new_list_seconds = new_list_seconds
        self._pause_seconds = pause_seconds
        self._snapshot: Snapshot | None = None
        self._is_over = False
        self._subscribers: list[Callable[[], None]] = []

    @property
    def snapshot(self) -> Snapshot | None:
        """The last list; None before there is one. May be asked by any thread."""
        return self._snapshot

    @property
    def is_over(self) -> bool:
        """Whether the process is leaving: the list will not change any more."""
        return self._is_over

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called after every change, and at the end; the answer ends that."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    async def run(self) -> None:
        """Follows until the store closes. While it does not answer, the last list stands."""
        await asyncio.sleep(self._settle_seconds)
        is_lost = False
        while not self._is_over:
            try:
                self._snapshot = await self._next()
            except StoreClosed:
                self._is_over = True
            except MeshError as error:
                if not is_lost:
                    log.warning("lose_store", reason=error.reason)
                is_lost = True
                await asyncio.sleep(self._pause_seconds)
                continue
            is_lost = False
            self._tell()

    async def _next(self) -> Snapshot:
        if self._snapshot is None:
            return await self._store.snapshot()
        found = await self._store.snapshot_after(self._snapshot.revision)
        if found.list_id == self._snapshot.list_id:
            return found
        await asyncio.sleep(self._new_list_seconds)
        return await self._store.snapshot()

    def _tell(self) -> None:
        for changed in tuple(self._subscribers):
            changed()
