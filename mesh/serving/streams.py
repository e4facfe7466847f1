"""Slots for open streams: strangers cannot take those of members.

A stream holds its slot for as long as its client likes, and many streams are open to callers
without a token. Guarantees: members have slots of their own, and strangers others
(`mesh.serving.callers`). A stream beyond a bound is refused at once; no open one ends for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mesh.addresses import site_of
from mesh.calls import CLIENT_ADDRESS, Metadata
from mesh.errors import ResourceExhausted, Unavailable
from mesh.serving.callers import MEMBER, CallerBounds, CallerCounts

RETRY_SECONDS = 1.0


STREAM_BOUNDS = CallerBounds(members=1_000, strangers=1_000, address=100)
"""The open streams of one kind on a server."""


class TooManyStreams(ResourceExhausted):
    """There is no slot for another stream of this caller."""

    REASON = "TOO_MANY_STREAMS"

    def __init__(self, max_streams: int, whose: str) -> None:
        super().__init__(
            f"This server has {max_streams} streams of this kind by {whose} and takes no more.",
            retry_after_seconds=RETRY_SECONDS,
        )


class StreamOver(Unavailable):
    """The stream has lasted as long as a stranger's may."""

    REASON = "STREAM_OVER"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"A stream of this kind lasts at most {seconds:g} seconds; open another.")


class StreamSlots:
    """The slots for one kind of streams of one server."""

    def __init__(
        self, is_member: Callable[[Metadata], Awaitable[bool]], bounds: CallerBounds
    ) -> None:
        """`is_member` returns whether metadata has a token of the mesh."""
        self._is_member = is_member
        self._counts = CallerCounts(bounds)
        self._tasks: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def slot(
        self, metadata: Metadata, stranger_seconds: float | None = None
    ) -> AsyncIterator[None]:
        """A slot for the caller while the context lasts. `metadata` is that of
        `mesh.serving.contexts.metadata_of`. A stranger's context lasts at most
        `stranger_seconds`. Raises TooManyStreams, StreamOver, and Unavailable at `end_all`."""
        is_member = await self._is_member(metadata)
        caller = MEMBER if is_member else site_of(metadata.get(CLIENT_ADDRESS, ""))
        if (reached := self._counts.reached(caller)) is not None:
            raise TooManyStreams(*reached)
        task = asyncio.current_task()
        assert task is not None, "a stream is served by a task"
        self._tasks.add(task)
        self._counts.add(caller, 1)
        try:
            async with asyncio.timeout(None if caller is MEMBER else stranger_seconds) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            assert stranger_seconds is not None, "only strangers have a limit"
            raise StreamOver(stranger_seconds) from None
        except asyncio.CancelledError:
            if task in self._tasks:
                raise
            task.uncancel()
            raise Unavailable("This server is leaving.", reason="DRAINING") from None
        finally:
            self._tasks.discard(task)
            self._counts.add(caller, -1)

    def end_all(self) -> None:
        """Ends the open streams, so that a server which stops need not wait for them."""
        while self._tasks:
            self._tasks.pop().cancel()
