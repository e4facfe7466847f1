"""Starts a load generator's process, sends it its settings, and reads its lines.

It is a separate process, so that its cost can be subtracted from the measured cost.
"""

import subprocess
import sys
from typing import Any

import orjson

from deploy.local.layout import REPOSITORY
from deploy.local.parent_bound import bound_to_parent
from proof.bench.errors import BenchFailed

END_TIMEOUT_SECONDS = 60.0


class LoadProcess:
    """A Python module run as a child process; it cannot outlive this process."""

    def __init__(self, module: str, settings: object) -> None:
        """`settings` is the dataclass that the module reads."""
        self._module = module
        self._process = subprocess.Popen(
            bound_to_parent([sys.executable, "-m", module]),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.write(orjson.dumps(settings) + b"\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, line: str) -> None:
        """Waits for that line. Raises BenchFailed when the process ends or prints another one."""
        said = self._read_line()
        if said != line:
            raise BenchFailed(f"{self._module} printed {said!r} instead of {line!r}.")

    def stop(self) -> None:
        """Closes its standard input, at which a closed loop ends."""
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.close()

    def result(self) -> dict[str, Any]:
        """Waits until it has ended. Returns the fields of its last line. Raises BenchFailed."""
        fields: dict[str, Any] = orjson.loads(self._read_line())
        self._process.wait(END_TIMEOUT_SECONDS)
        return fields

    def kill(self) -> None:
        """Idempotent; leaves nothing open."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _read_line(self) -> str:
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"{self._module} ended early; see its output above.")
        return line.decode().rstrip("\n")
