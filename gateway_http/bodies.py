"""Reads the body of a request, within bounds of size and time.

What is too large is never held in memory. It is read on for a while and thrown
away, for a server that answers and closes while its client is still sending makes
the client's system discard the answer (RFC 9112, 9.6).
"""

import asyncio
from contextlib import suppress

from gateway_http.errors import RequestTooLarge
from gateway_http.rsgi import HTTPProtocol, Scope

MOST_DISCARDED_BYTES = 4 * 1024 * 1024
MOST_DISCARDING_SECONDS = 2.0


async def read_body(scope: Scope, protocol: HTTPProtocol, maximum_bytes: int) -> bytes:
    """The whole body. Raises RequestTooLarge."""
    declared_bytes = _declared_bytes(scope)
    if declared_bytes is not None and declared_bytes <= maximum_bytes:
        return await protocol()
    is_too_large = declared_bytes is not None
    if is_too_large and scope.headers.get("expect") is not None:
        # Who asks first whether to send has not sent, and needs no more than the answer.
        raise RequestTooLarge(maximum_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    clock = asyncio.get_running_loop().time
    with suppress(TimeoutError):
        async with asyncio.timeout(MOST_DISCARDING_SECONDS if is_too_large else None) as patience:
            # Granian lets a body be iterated over once, so one loop reads and discards.
            async for chunk in protocol:
                size_bytes += len(chunk)
                if not is_too_large and size_bytes <= maximum_bytes:
                    chunks.append(chunk)
                elif not is_too_large:
                    is_too_large = True
                    chunks.clear()
                    patience.reschedule(clock() + MOST_DISCARDING_SECONDS)
                elif size_bytes > maximum_bytes + MOST_DISCARDED_BYTES:
                    break
    if is_too_large:
        raise RequestTooLarge(maximum_bytes)
    return b"".join(chunks)


def _declared_bytes(scope: Scope) -> int | None:
    declared = scope.headers.get("content-length")
    if declared is None or not (declared.isascii() and declared.isdigit()):
        return None
    # Beyond this many digits the number itself would be work.
    return int(declared[:20])
