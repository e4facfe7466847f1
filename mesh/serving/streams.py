"""Slots for open streams: strangers cannot take those of members.

A stream holds its slot for as long as its client likes, and many streams are open to callers
without a token. Guarantees: members, whose token names a known service or an operator, have slots
of their own. Strangers have others, and one address (of IPv6: one /64) has a bounded part of
those. A stream beyond a bound is refused at once; no open one ends for it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.addresses import site_of
from mesh.calls import CLIENT_ADDRESS, Metadata
from mesh.errors import ResourceExhausted, Unavailable

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """How many streams of one kind a server has open: those of members, those of strangers, and
    of these those of one address."""

    members: int
    strangers: int
    address: int


STREAM_BOUNDS = StreamBounds(members=1_000, strangers=1_000, address=100)


class TooManyStreams(ResourceExhausted):
    """There is no slot for another stream of this caller."""

    REASON = "TOO_MANY_STREAMS"

    def __init__(self, max_streams: int, whose: str) -> None:
        super().__init__(
            f"This server has {max_streams} streams of this kind by {whose} and takes no more.",
            retry_after_seconds=RETRY_SECONDS,
        )


class StreamSlots:
    """The slots for one kind of streams of one server."""

    def __init__(
        self, is_member: Callable[[Metadata], Awaitable[bool]], bounds: StreamBounds
    ) -> None:
        """`is_member` returns whether metadata has a token of the mesh."""
        self._is_member = is_member
        self._bounds = bounds
        self._member_count = 0
        self._strangers: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def slot(self, metadata: Metadata) -> AsyncIterator[None]:
        """A slot for the caller while the context lasts. `metadata` is that of
        `mesh.serving.contexts.metadata_of`. Raises TooManyStreams, and Unavailable at
        `end_all`."""
        is_member = await self._is_member(metadata)
        site = site_of(metadata.get(CLIENT_ADDRESS, ""))
        self._check(is_member, site)
        task = asyncio.current_task()
        assert task is not None, "a stream is served by a task"
        self._tasks.add(task)
        self._count(is_member, site, 1)
        try:
            yield
        except asyncio.CancelledError:
            if task in self._tasks:
                raise
            task.uncancel()
            raise Unavailable("This server is leaving.", reason="DRAINING") from None
        finally:
            self._tasks.discard(task)
            self._count(is_member, site, -1)

    def end_all(self) -> None:
        """Ends the open streams, so that a server which stops need not wait for them."""
        while self._tasks:
            self._tasks.pop().cancel()

    def _check(self, is_member: bool, site: str) -> None:
        bounds = self._bounds
        if is_member:
            if self._member_count >= bounds.members:
                raise TooManyStreams(bounds.members, "members of the mesh")
        elif self._strangers[site] >= bounds.address:
            raise TooManyStreams(bounds.address, "callers of this address without a token")
        elif self._strangers.total() >= bounds.strangers:
            raise TooManyStreams(bounds.strangers, "callers without a token")

    def _count(self, is_member: bool, site: str, change: int) -> None:
        if is_member:
            self._member_count += change
            return
        self._strangers[site] += change
        if not self._strangers[site]:
            del self._strangers[site]
