"""Cancels a call when its client disconnects.

Watching a connection costs a task and a future for each request. Nearly all requests are
answered at once, so the watch starts only for those that take long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mesh.errors import Cancelled

WATCH_AFTER_SECONDS = 0.5
Result = TypeVar("Result")


async def unless_disconnected(
    work: Awaitable[Result],
    disconnected: Callable[[], Awaitable[None]],
    *,
    watch_after_seconds: float = WATCH_AFTER_SECONDS,
) -> Result:
    """The result of `work`, which is cancelled if `disconnected` returns first.

    Raises Cancelled with the reason CLIENT_DISCONNECTED, and the errors of `work`.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    watching: list[asyncio.Task[None]] = []

    async def watch() -> None:
        await disconnected()
        task.cancel()

    def begin() -> None:
        watching.append(asyncio.ensure_future(watch()))

    timer = asyncio.get_running_loop().call_later(watch_after_seconds, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watching and watching[0].done() and not watching[0].cancelled():
            task.uncancel()
            raise Cancelled("The client disconnected.", reason="CLIENT_DISCONNECTED") from None
        raise
    finally:
        timer.cancel()
        for watcher in watching:
            watcher.cancel()
