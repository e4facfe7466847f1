"""Work that goes on for as long as its owner lives, and whose end is never silent.

A task that ends by itself, by an error, a return or a stray cancellation, is reported to the
handler of the event loop's errors. `mesh.process.runtime` ends the process then, so that its
supervisor starts it again. Elsewhere, the error is logged.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

ASK_AGAIN_SECONDS = 1.0
ENDED_TASK = "ended_background_task"
"""The key of the task's name in what the event loop's error handler gets."""


def was_asked_to_end() -> bool:
    """Whether the current task itself was cancelled. If not, a CancelledError in it came out of
    something that it awaited, and is a failure like any other."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class EndedByItself(Exception):
    """Background work returned or was cancelled, although its owner still needed it."""


class BackgroundTask:
    """Runs the work until `end`. Needs a running event loop, and belongs to it.

    self._watching = BackgroundTask(self._keep_watching(), "directory")
    ...
    await self._watching.end()
    """

    def __init__(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._may_return = False
        self._task = asyncio.create_task(work, name=name)
        self._task.add_done_callback(self._report)

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    async def end(self) -> None:
        """Cancels the work and returns when it has ended. Idempotent.

        Asks again after ASK_AGAIN_SECONDS: a library whose own timeout ends at the same moment may
        take a cancellation for it."""
        self.cancel()
        while not (await asyncio.wait([self._task], timeout=ASK_AGAIN_SECONDS))[0]:
            self._task.cancel()

    def cancel(self) -> None:
        """Cancels the work without waiting for it. Idempotent."""
        self._task.remove_done_callback(self._report)
        self._task.cancel()

    async def finish(self, timeout_seconds: float) -> None:
        """Lets the work return from now on, and waits for that. Its error is still reported."""
        self._may_return = True
        await asyncio.wait([self._task], timeout=timeout_seconds)

    def _report(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is None and self._may_return:
            return
        said = f"The background task {task.get_name()} has ended"
        task.get_loop().call_exception_handler(
            {
                "message": said,
                "exception": error or EndedByItself(f"{said}."),
                ENDED_TASK: task.get_name(),
            }
        )
