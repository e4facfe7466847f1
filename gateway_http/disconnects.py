"""Ends work that nobody waits for any more."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from mesh.errors import Cancelled

Result = TypeVar("Result")


async def unless_disconnected(
    work: Coroutine[Any, Any, Result], disconnected: Callable[[], Awaitable[None]]
) -> Result:
    """What `work` gives, unless `disconnected` returns first: then work is cancelled.

    Raises Cancelled with the reason CLIENT_DISCONNECTED, and whatever `work` raises.
    """
    task = asyncio.ensure_future(work)

    async def watch() -> None:
        await disconnected()
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            raise Cancelled("The client went away.", reason="CLIENT_DISCONNECTED") from None
        raise
    finally:
        watcher.cancel()
