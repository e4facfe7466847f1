"""Runs one process of `account_svc.adapters.hashing` for the service.

The process starts at the first request, and again after it has died. A process that does not
answer within ANSWER_TIMEOUT_SECONDS is killed, as a frozen one would end all logins of its
service. A request has no side effects, so it is then sent once more, and a process may be killed
at any time.
"""

import json
import os
import select
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import structlog

from mesh.errors import Internal
from mesh.process.priority import BACKGROUND

COMMAND = (sys.executable, "-m", "account_svc.adapters.hashing")
FOLDER = Path(__file__).resolve().parents[2]
ANSWER_TIMEOUT_SECONDS = 4.0
"""Less than the default deadline of a login (5 s), so that the caller who finds the process frozen
is still answered by the next one. A hash takes about 0.03 s, and a start about 0.5 s."""

log = structlog.get_logger()


class HashingFailed(Internal):
    """The process died or did not answer, twice over one password; or it is closed."""

    REASON = "HASHING_FAILED"

    def __init__(self) -> None:
        super().__init__("The password could not be hashed; try again in a moment.")


class HashingProcess:
    """Call `ask` from one thread alone: the process ends with the thread that started it. `ask`
    blocks for as long as a hash takes, and at most twice `answer_timeout_seconds`."""

    def __init__(
        self,
        niceness: int = BACKGROUND,
        *,
        answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
    ) -> None:
        """`niceness` is the process's priority, 0 to 19 (see `mesh.process.priority`)."""
        self._command = (*COMMAND, str(niceness))
        self._answer_timeout_ms = answer_timeout_seconds * 1000
        self._process: subprocess.Popen[str] | None = None
        self._ending: weakref.finalize[..., HashingProcess] | None = None
        self._is_closed = False
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """None before the first request and after `end`."""
        return None if self._process is None else self._process.pid

    def ask(self, request: list[str]) -> str | bool:
        """See `account_svc.adapters.hashing.answer`. Raises HashingFailed."""
        for is_repeat in (False, True):
            process = self._running()
            if is_repeat:
                log.warning("restart_hashing_process")
            line = self._exchange(process, json.dumps(request) + "\n")
            if line:
                answer: str | bool = json.loads(line)
                return answer
            self.end()
        raise HashingFailed

    def close(self) -> None:
        """Kills the process for good, also from another thread than that of `ask`, which then
        raises HashingFailed. Call `end` when no `ask` runs any more. Idempotent."""
        with self._starting:
            self._is_closed = True
            process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """Kills the process. Idempotent; the next request starts it again."""
        if self._ending is not None:
            self._ending()
        self._process = self._ending = None

    def _running(self) -> "subprocess.Popen[str]":
        """The process; starts it if there is none. Raises HashingFailed after `close`."""
        with self._starting:
            if self._is_closed:
                raise HashingFailed
            if self._process is None:
                self._process = subprocess.Popen(
                    (*self._command, str(os.getpid())),
                    cwd=FOLDER,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                self._ending = weakref.finalize(self, _end, self._process)
            return self._process

    def _exchange(self, process: "subprocess.Popen[str]", line: str) -> str:
        """The answer line; empty when the process has died or does not answer in time."""
        assert process.stdin is not None, "a pipe was asked for"
        assert process.stdout is not None, "a pipe was asked for"
        try:
            # A request is smaller than the buffer of an empty pipe, so this does not block.
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        answers = select.poll()
        answers.register(process.stdout, select.POLLIN)
        if not answers.poll(self._answer_timeout_ms):
            return ""
        # An answer is written at once and is smaller than PIPE_BUF, so the whole line is there.
        return process.stdout.readline()


def _end(process: "subprocess.Popen[str]") -> None:
    """Kills the process and waits for it. A frozen one would not see the end of its input."""
    process.kill()
    process.communicate()
