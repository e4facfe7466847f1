"""One connection of the closed-loop load: sends, waits for the answer, sends again.

Each answer's callback sends the next request; there is no task for each request. A status other
than 200, a text that is missing, a broken connection and a late answer are errors; a pause follows
each.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator

from proof.bench.load.window import Window
from proof.load.http1 import Answer, Connection, connect

ANSWER_TIMEOUT_SECONDS = 30.0
PAUSE_AFTER_ERROR_SECONDS = 0.05
OK = 200


class AnswerLate(ConnectionError):
    """No answer arrived in time; the connection was closed."""


class ClosedLoopClient:
    """Sends one request after the other from `start` until `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        requests: Iterator[bytes],
        window: Window,
        clock: Callable[[], float] = time.perf_counter,
        expected: bytes = b"",
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`requests` has no end; every answer should have the text `expected`; `trust` is None
        for plain HTTP."""
        self._host = host
        self._port = port
        self._requests = requests
        self._window = window
        self._expected = expected
        self._trust = trust
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_waiting = False
        self._began_at = 0.0
        self._is_stopping = False
        self.stopped = asyncio.Event()
        """Set after `stop`, once the last answer has arrived or failed."""

    def start(self) -> None:
        self._send_next()

    def stop(self) -> None:
        """Sends no more requests; the last one may finish."""
        self._is_stopping = True
        if self._connection is not None and not self._is_waiting:
            self._send_next()

    def give_up_if_late(self) -> None:
        """Closes the connection if its answer is overdue. Call it regularly."""
        if self._is_waiting and self._clock() - self._began_at > ANSWER_TIMEOUT_SECONDS:
            assert self._connection is not None, "an answer is waited for on a connection"
            self._connection.close(AnswerLate(f"no answer within {ANSWER_TIMEOUT_SECONDS:g} s"))

    def _send_next(self) -> None:
        if self._is_stopping:
            if self._connection is not None:
                self._connection.close()
            self.stopped.set()
        elif self._connection is None:
            self._connecting = self._loop.create_task(self._connect())
        else:
            self._is_waiting = True
            self._began_at = self._clock()
            self._connection.send(next(self._requests))

    async def _connect(self) -> None:
        try:
            self._connection = await connect(
                self._host, self._port, self._on_answer, self._on_end, self._trust
            )
        except OSError as error:
            self._fail(error)
        else:
            self._send_next()

    def _on_answer(self, answer: Answer) -> None:
        self._is_waiting = False
        if answer.status == OK and self._expected in answer.body:
            self._window.record(self._clock() - self._began_at)
            self._send_next()
        else:
            self._pause_after(f"{answer.status} {answer.body.decode(errors='replace')}")

    def _on_end(self, error: ConnectionError) -> None:
        was_waiting, self._is_waiting, self._connection = self._is_waiting, False, None
        if was_waiting:
            self._fail(error)
        elif not self._is_stopping:  # a new one is made after the pause
            self._window.record_error(_described(error))

    def _fail(self, error: OSError) -> None:
        self._pause_after(_described(error))

    def _pause_after(self, error: str) -> None:
        self._window.record_error(error)
        self._loop.call_later(PAUSE_AFTER_ERROR_SECONDS, self._send_next)


def _described(error: OSError) -> str:
    return f"{type(error).__name__}: {error}"
