"""One process: how it is started, when it is ready, how it is stopped."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

from deploy.local.supervision.sockets import LISTEN_FD

Say = Callable[[str], None]
StopSteps = tuple[tuple[signal.Signals, float], ...]

STOP_SERVICE: StopSteps = ((signal.SIGTERM, 15.0),)
STOP_POSTGRES: StopSteps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 6.0))
"""Fast: clients are cut off and a checkpoint is written. Then at once, without one."""

STOP_ETCD: StopSteps = ((signal.SIGKILL, 5.0),)
"""What a member has acknowledged is on its disk. On SIGTERM the one that leads would wait for
seconds to hand over to others, which are being stopped too."""

LAST_LINE_COUNT = 12
MAX_TAIL_BYTES = 8192


def _nothing() -> None:
    """What most processes need before a start."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What the supervisor needs to know about a process; `role` and the addresses are for reports.

    `command` must become the process itself (see parent_death.py). `before_start` blocks, and runs
    before each start. `make_ready` is asked again and again until it says True, and brings
    the process there if it takes more than waiting; it is idempotent. `stop_steps` are
    signals, each with the seconds that it gets before the next; SIGKILL comes last. One that
    `is_handed_its_socket` finds its address listened on: see sockets.py.
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


async def spawn(spec: ProcessSpec, listener: socket | None = None) -> asyncio.subprocess.Process:
    """Starts it in a session of its own, so that a Ctrl-C at the terminal leaves it alone."""
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


def kill_session(pid: int) -> None:
    """SIGKILL to what is left of the session that `spawn` gave to the process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def in_words(status: int) -> str:
    """An exit status as asyncio gives it, negative for a signal."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def last_lines(log: Path) -> str:
    """The end of a log, for people; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - MAX_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-LAST_LINE_COUNT:])
