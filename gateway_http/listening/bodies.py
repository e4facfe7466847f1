"""Reads the body of a request, within bounds of size and time.

What is too large is never held in memory. It is read on for a while and thrown
away, and so is what nobody asked for, for a server that answers and closes while its client
is still sending makes the client's system discard the answer (RFC 9112, 9.6).
"""

import asyncio
from contextlib import suppress

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]

from gateway_http.errors import RequestTooLarge
from gateway_http.listening.rsgi import HTTPProtocol, Scope
from mesh.deadlines import Deadline, within

MOST_DISCARDED_BYTES = 4 * 1024 * 1024
MOST_DISCARDING_SECONDS = 2.0
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class Body:
    """The body of one request. Granian lets it be read once, so either of these is called."""

    def __init__(self, scope: Scope, protocol: HTTPProtocol, maximum_bytes: int) -> None:
        self._scope = scope
        self._protocol = protocol
        self._maximum_bytes = maximum_bytes
        self._is_read = False

    async def read(self) -> bytes:
        """The whole body. Raises RequestTooLarge."""
        self._is_read = True
        declared_bytes = self._declared_bytes()
        if declared_bytes is not None and declared_bytes <= self._maximum_bytes:
            return await self._protocol()
        is_too_large = declared_bytes is not None
        if is_too_large and self._asks_first():
            raise RequestTooLarge(self._maximum_bytes)
        chunks: list[bytes] = []
        size_bytes = 0
        clock = asyncio.get_running_loop().time
        patience_seconds = MOST_DISCARDING_SECONDS if is_too_large else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds) as patience:
                async for chunk in self._protocol:
                    size_bytes += len(chunk)
                    if not is_too_large and size_bytes <= self._maximum_bytes:
                        chunks.append(chunk)
                    elif not is_too_large:
                        is_too_large = True
                        chunks.clear()
                        patience.reschedule(clock() + MOST_DISCARDING_SECONDS)
                    elif size_bytes > self._maximum_bytes + MOST_DISCARDED_BYTES:
                        break
        if is_too_large:
            raise RequestTooLarge(self._maximum_bytes)
        return b"".join(chunks)

    async def discard(self) -> None:
        """Throws away what was not read, if there is a body: of a request that is refused
        for what stands in its head."""
        if self._is_read or self._scope.method in WITHOUT_BODY or self._asks_first():
            return
        is_chunked = self._scope.headers.get("transfer-encoding") is not None
        declared_bytes = self._declared_bytes()
        if is_chunked or declared_bytes:
            with suppress(TimeoutError, ProtocolClosed, ProtocolError):
                await within(
                    Deadline.after(MOST_DISCARDING_SECONDS), self._throw_away(declared_bytes)
                )

    async def _throw_away(self, declared_bytes: int | None) -> None:
        if declared_bytes is not None and declared_bytes <= self._maximum_bytes:
            await self._protocol()  # costs less than to read by chunks, and floods are of these
            return
        size_bytes = 0
        async for chunk in self._protocol:
            size_bytes += len(chunk)
            if size_bytes > MOST_DISCARDED_BYTES:
                return

    def _asks_first(self) -> bool:
        """Who asks first whether to send has not sent, and needs no more than the answer."""
        return self._scope.headers.get("expect") is not None

    def _declared_bytes(self) -> int | None:
        declared = self._scope.headers.get("content-length")
        if declared is None or not (declared.isascii() and declared.isdigit()):
            return None
        # Beyond this many digits the number itself would be work.
        return int(declared[:20])
