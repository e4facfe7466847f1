"""An event loop that a test advances step by step, with its own clock."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

MAX_TURNS = 10_000


class HandDrivenLoop(asyncio.SelectorEventLoop):
    """Runs only while `run_ready` does, and its clock moves only in `advance`.

    So every run takes the same steps, and nothing waits in real time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._has_work = False
        self._unfinished: set[asyncio.Task[Any]] = set()
        # The unfinished tasks of a killed process are no error.
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self._seconds

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self._has_work = True
        return super().call_soon(callback, *args, context=context)

    def create_task(self, *arguments: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = super().create_task(*arguments, **options)
        # Keeps the tasks of killed processes alive until the end; nothing else references them.
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    def advance(self, seconds: float) -> None:
        """Moves the clock, and runs what becomes due."""
        self._seconds += seconds
        self._has_work = True
        self.run_ready()

    def run_ready(self) -> None:
        """Runs until everything waits for a message or for the clock."""
        for _ in range(MAX_TURNS):
            if not self._has_work:
                return
            self._has_work = False
            super().call_soon(self.stop)
            self.run_forever()
        raise AssertionError("something runs for ever")

    def end(self) -> None:
        """Cancels all waiting tasks, and closes the loop."""
        for _ in range(MAX_TURNS):
            if not self._unfinished:
                break
            for task in list(self._unfinished):
                task.cancel()
            self.run_ready()
        self.close()
