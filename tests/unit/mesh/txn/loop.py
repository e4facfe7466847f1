"""An event loop whose turns and whose time are moved by hand."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

MAX_TURNS = 10_000


class HandDrivenLoop(asyncio.SelectorEventLoop):
    """Runs only while `run_ready` does, and its clock moves only in `advance`.

    So whatever runs in it takes the same steps each time, and nothing ever waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._has_work = False
        self._unfinished: set[asyncio.Task[Any]] = set()
        # What a process that was killed leaves unfinished is nobody's mistake.
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
        # A task of a process that was killed is held by nothing else until the end.
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    def advance(self, seconds: float) -> None:
        """Moves the clock, and runs what was waiting for it."""
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
        """Ends whatever still waits, and the loop."""
        for _ in range(MAX_TURNS):
            if not self._unfinished:
                break
            for task in list(self._unfinished):
                task.cancel()
            self.run_ready()
        self.close()
