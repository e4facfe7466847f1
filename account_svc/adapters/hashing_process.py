"""Runs one process of `account_svc.adapters.hashing` for the service.

The process starts at the first request, and again after it has died. A request has no side
effects, so it is then sent once more.
"""

import json
import subprocess
import sys
import weakref
from pathlib import Path

from mesh.errors import Internal
from mesh.process.priority import BACKGROUND

COMMAND = (sys.executable, "-m", "account_svc.adapters.hashing")
FOLDER = Path(__file__).resolve().parents[2]
END_TIMEOUT_SECONDS = 5.0


class HashingFailed(Internal):
    """The process died twice over one password."""

    REASON = "HASHING_FAILED"


class HashingProcess:
    """Call `ask` from one thread at a time; it blocks for as long as a hash takes."""

    def __init__(self, niceness: int = BACKGROUND) -> None:
        """`niceness` is the process's priority, 0 to 19 (see `mesh.process.priority`)."""
        self._command = (*COMMAND, str(niceness))
        self._process: subprocess.Popen[str] | None = None
        self._ending: weakref.finalize[..., HashingProcess] | None = None

    @property
    def pid(self) -> int | None:
        """None before the first request and after `end`."""
        return None if self._process is None else self._process.pid

    def ask(self, request: list[str]) -> str | bool:
        """See `account_svc.adapters.hashing.answer`. Raises HashingFailed."""
        for _ in range(2):
            line = self._exchange(json.dumps(request) + "\n")
            if line:
                answer: str | bool = json.loads(line)
                return answer
            self.end()
        raise HashingFailed("The password could not be hashed; try again in a moment.")

    def end(self) -> None:
        """Stops the process. Idempotent; the next request starts it again."""
        if self._ending is not None:
            self._ending()
        self._process = self._ending = None

    def _exchange(self, line: str) -> str:
        """The answer line; empty when the process has died."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._ending = weakref.finalize(self, _end, self._process)
        assert self._process.stdin is not None, "a pipe was asked for"
        assert self._process.stdout is not None, "a pipe was asked for"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()


def _end(process: "subprocess.Popen[str]") -> None:
    """Closes the process's input, at which it exits."""
    try:
        process.communicate(timeout=END_TIMEOUT_SECONDS)
    except (subprocess.TimeoutExpired, BrokenPipeError):
        process.kill()
        process.communicate()
