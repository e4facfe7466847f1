"""The runner's side of the template process: starts it, and forks programs from it.

The template process is started at the first fork, and again after it has died. It may die at any
time, with all its children; each then counts as killed. A program that cannot be forked in time is
started alone.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from deploy.local.forking import messages
from deploy.local.forking.messages import Ended, Request, Started
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process, ProcessSpec, Say

PADDING = "-" * 200
"""Room for the command line of a child (template.py)."""
FORK_TIMEOUT_SECONDS = 20.0
LATER_FORK_TIMEOUT_SECONDS = 3.0
STATUS_TIMEOUT_SECONDS = 2.0


class ForkedProcess:
    """A child of the template process, with the methods of `asyncio.subprocess.Process` that the
    supervisor uses."""

    def __init__(self, pid: int, pidfd: int, status: "asyncio.Future[int]") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._status = status
        self._has_ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, self._note_end)

    async def wait(self) -> int:
        """Its exit status, negative for a signal, once it has ended."""
        await self._has_ended.wait()
        if self.returncode is None:
            # A template process that died or is frozen reports nothing.
            await asyncio.wait([self._status], timeout=STATUS_TIMEOUT_SECONDS)
            is_known = self._status.done() and not self._status.cancelled()
            self.returncode = self._status.result() if is_known else -signal.SIGKILL
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Raises ProcessLookupError when it has ended."""
        if self._has_ended.is_set():
            raise ProcessLookupError
        signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """As `send_signal`."""
        self.send_signal(signal.SIGKILL)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._has_ended.set()


class Forks:
    """Forks programs. Use it in one event loop only."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        *,
        say: Say,
        fork_timeout_seconds: float = FORK_TIMEOUT_SECONDS,
    ) -> None:
        """The environment, folder and log are the template process's own. Its environment has what
        packages read when they are imported."""
        self._environment = environment
        self._folder, self._log, self._say = folder, log, say
        self._fork_timeout_seconds = fork_timeout_seconds
        self._channel: socket.socket | None = None
        self._has_forked = False
        """Whether the present template process has."""
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._numbers = count()
        self._started: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._statuses: dict[int, asyncio.Future[int]] = {}

    async def spawn(self, spec: ProcessSpec, listener: socket.socket | None = None) -> Process:
        """As `processes.spawn`; forks the process if it is a Python program."""
        if not spec.program:
            return await processes.spawn(spec, listener)
        try:
            return await self._fork(spec, listener)
        except (OSError, TimeoutError) as error:
            self._say(f"{spec.name} could not be forked, and is started alone: {error!r}")
            return await processes.spawn(spec, listener)

    async def start(self) -> None:
        """Starts the template process, if it does not run. `spawn` does so too."""
        async with self._starting:
            if self._channel is None:
                await self._start()

    async def close(self) -> None:
        """Ends the template process, and what it forked. Idempotent."""
        self._lose()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _fork(self, spec: ProcessSpec, listener: socket.socket | None) -> ForkedProcess:
        await self.start()
        module, *arguments = spec.program
        number = next(self._numbers)
        # The first fork waits for the imports; any other takes milliseconds.
        timeout_seconds = self._fork_timeout_seconds
        if self._has_forked:
            timeout_seconds = min(timeout_seconds, LATER_FORK_TIMEOUT_SECONDS)
        request = Request(
            number,
            time.monotonic() + timeout_seconds,
            module,
            arguments,
            spec.environment,
            str(spec.folder),
        )
        started: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._started[number] = started
        try:
            assert self._channel is not None, "it was started"
            with spec.log.open("ab") as output:
                files = [output.fileno(), *([] if listener is None else [listener.fileno()])]
                messages.send(self._channel, request, files)
            async with asyncio.timeout(timeout_seconds):
                process = await started
            self._has_forked = True
            return process
        finally:
            del self._started[number]

    async def _start(self) -> None:
        own, other = messages.pair()
        own.setblocking(False)
        with other, self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deploy.local.forking.template"),
                *(str(other.fileno()), str(os.getpid()), PADDING),
                cwd=self._folder,
                env=self._environment,
                pass_fds=[other.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._channel = own
        self._has_forked = False
        asyncio.get_running_loop().add_reader(own, self._read)

    def _read(self) -> None:
        assert self._channel is not None, "it is being read"
        try:
            message, files = messages.receive(self._channel)
        except OSError:
            message, files = None, []
        match message:
            case Started(number, pid):
                self._take(number, pid, files[0])
            case Ended(pid, status):
                self._statuses.pop(pid).set_result(status)
            case _:
                self._lose()

    def _take(self, number: int, pid: int, pidfd: int) -> None:
        """Hands a new child to whoever waits for it, or kills it."""
        status = self._statuses[pid] = asyncio.get_running_loop().create_future()
        process = ForkedProcess(pid, pidfd, status)
        started = self._started.get(number)
        if started is None or started.done():
            process.kill()
        else:
            started.set_result(process)

    def _lose(self) -> None:
        """The template process has gone, and its children go with it."""
        if self._channel is None:
            return
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._channel = None
        for started in self._started.values():
            if not started.done():
                started.set_exception(ConnectionResetError("the template process has ended"))
        for status in self._statuses.values():
            status.set_result(-signal.SIGKILL)
        self._statuses.clear()
