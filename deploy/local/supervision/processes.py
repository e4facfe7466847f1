"""One process: its start, its readiness, its stop."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Protocol

from deploy.local.supervision.sockets import LISTEN_FD

Say = Callable[[str], None]
StopSteps = tuple[tuple[signal.Signals, float], ...]

STOP_SERVICE: StopSteps = ((signal.SIGTERM, 15.0),)
STOP_POSTGRES: StopSteps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 6.0))
"""First fast: clients are disconnected and a checkpoint is written. Then immediate: none is."""

STOP_ETCD: StopSteps = ((signal.SIGKILL, 5.0),)
"""SIGKILL loses nothing, because acknowledged writes are on disk. On SIGTERM the leader would
wait for seconds to hand over to members that are being stopped too."""

LAST_LINE_COUNT = 12
MAX_TAIL_BYTES = 8192


class Process(Protocol):
    """A process that was started. As `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """Its exit status after `wait` has returned it."""
        ...

    async def wait(self) -> int:
        """Its exit status, negative for a signal, once it has ended."""
        ...

    def send_signal(self, signal: signal.Signals) -> None:
        """Raises ProcessLookupError when it has ended."""
        ...

    def kill(self) -> None:
        """Sends SIGKILL, as `send_signal` does."""
        ...


def _nothing() -> None:
    """The default `before_start`."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """The description of a process. `role` and the addresses are for reports.

    `command` must become the process itself (see parent_death.py). `before_start` may block, and
    runs before each start. `make_ready` is idempotent, and is repeated until it returns True; it
    may do what makes the process ready. `stop_steps` are signals, each with the seconds until the
    next one; SIGKILL comes last. `is_handed_its_socket`: the process inherits a listening socket
    (see sockets.py). `program` is the module that the command runs, with its arguments, if the
    process may also be forked (deploy/local/forking).
    """

    name: str
    role: str
    address: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    make_ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], None] = field(default=_nothing)
    metrics_address: str | None = None
    is_handed_its_socket: bool = False
    stop_steps: StopSteps = STOP_SERVICE
    program: Sequence[str] = ()


async def spawn(spec: ProcessSpec, listener: socket | None = None) -> Process:
    """Starts it in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
    environment, handed = dict(spec.environment), []
    if listener is not None:
        handed = [listener.fileno()]
        environment[LISTEN_FD] = str(listener.fileno())
    with spec.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *spec.command,
            cwd=spec.folder,
            env=environment,
            pass_fds=handed,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


Spawn = Callable[[ProcessSpec, socket | None], Awaitable[Process]]
"""Starts a process with the listening socket that it is handed, if any."""


def kill_session(pid: int) -> None:
    """Sends SIGKILL to the remaining processes of the session that `spawn` made."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def in_words(status: int) -> str:
    """Describes an exit status of asyncio, which is negative for a signal."""
    if status == os.EX_CONFIG:
        return "refuses its settings"
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def size(log: Path) -> int:
    """In bytes; 0 if the file is missing."""
    return log.stat().st_size if log.exists() else 0


def lines_since(log: Path, offset: int) -> str:
    """What was written to a log from `offset` on, or its end if that is long."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, size(log) - MAX_TAIL_BYTES))
            return file.read().decode(errors="replace").strip("\n")
    except FileNotFoundError:
        return ""


def last_lines(log: Path) -> str:
    """The end of a log; empty if the file is missing."""
    return "\n".join(lines_since(log, 0).splitlines()[-LAST_LINE_COUNT:])
