"""Keeps processes running: restarts dead ones at once, with the same name and address.

Every process has one task over all its restarts. Restarts are limited by the backoff. A process
that refuses its settings (status 78) fails a start at its first end. Nothing that fails here,
such as a report on a full disk, ends that task. A stop is final and in order.
If the supervisor is killed, the kernel ends its processes: see parent_death.py.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial

from deploy.local.errors import LocalRunError
from deploy.local.supervision import processes, sockets
from deploy.local.supervision.backoff import DELAYS_SECONDS, Backoff
from deploy.local.supervision.processes import Process, ProcessSpec, Say, Spawn
from deploy.local.waiting import not_ended, reported

READY_POLL_SECONDS = 0.05


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting for its restart"
    STOPPED = "stopped"


class SupervisedProcess:
    """One process and its restarts. `pid` is None while it is not running."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        say: Say,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        spawn: Spawn = processes.spawn,
    ) -> None:
        self.spec = spec
        self.pid: int | None = None
        self.state = State.STARTING
        self.restart_count = 0
        self._say, self._changed, self._clock, self._spawn = say, changed, clock, spawn
        self._backoff = Backoff()
        self._ready = asyncio.Event()
        self._hopeless = asyncio.Event()
        self._refusal: str | None = None
        self._process: Process | None = None
        self._listener: socket.socket | None = None
        self._is_stopping = False
        self._is_restarting = False
        self._task = asyncio.create_task(self._run(), name=f"supervise {spec.name}")

    async def wait_until_ready(self) -> None:
        """Raises LocalRunError when it refuses its settings, with what it says of them, or keeps
        dying, with the end of its log."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._ready, self._hopeless)]
        try:
            await asyncio.wait([*waits, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        if not self._ready.is_set():
            if self._refusal is not None:
                raise LocalRunError(f"{self.spec.name} does not start. {self._refusal}")
            raise LocalRunError(
                f"{self.spec.name} does not get ready. The end of its log, {self.spec.log}:\n"
                f"{processes.last_lines(self.spec.log)}"
            )

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stops it for good, by its stop steps. `hurry` shortens the first step. Idempotent."""
        self._is_stopping = True
        process = self._process
        if process is None:
            self._task.cancel()
        else:
            await self._end(process, hurry)
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._listener is not None:
            self._listener.close()
        self.state = State.STOPPED

    async def restart(self) -> None:
        """Stops it in order, and returns when it has ended; it is started again at once.

        Raises LocalRunError when it does not run.
        """
        process = self._process
        if process is None or self._is_stopping:
            raise LocalRunError(f"{self.spec.name} does not run: it is {self.state.value}.")
        self._is_restarting = True
        self.state = State.STARTING
        self._ready.clear()
        await self._end(process, asyncio.Event())

    async def _end(self, process: Process, hurry: asyncio.Event) -> None:
        never = asyncio.Event()
        for number, (stop_signal, patience_seconds) in enumerate(self.spec.stop_steps):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(stop_signal)
            cut_short = never if number else hurry
            if await self._ended_within(process, patience_seconds, cut_short):
                return
            if not cut_short.is_set():
                self._say(
                    f"{self.spec.name} did not heed {stop_signal.name} "
                    f"within {patience_seconds:.0f} s."
                )
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()

    async def _ended_within(
        self, process: Process, patience_seconds: float, hurry: asyncio.Event
    ) -> bool:
        waits = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(hurry.wait())]
        await asyncio.wait(waits, timeout=patience_seconds, return_when=asyncio.FIRST_COMPLETED)
        has_ended = waits[0].done()
        for wait in waits:
            wait.cancel()
        return has_ended

    async def _run(self) -> None:
        while not self._is_stopping:
            started = self._clock()
            try:
                how = await self._live()
            except Exception as error:  # noqa: BLE001 (a process must not be left alone)
                how = f"could not be supervised: {error!r}"
            if self._is_stopping:
                return
            if self._is_restarting:
                self._is_restarting = False
                self._backoff = Backoff()
                self.restart_count += 1
                continue
            delay_seconds = self._backoff.delay_seconds_after_death(
                lived_seconds=self._clock() - started, was_ready=self._ready.is_set()
            )
            if self._refusal is not None:
                delay_seconds = DELAYS_SECONDS[-1]
            self._ready.clear()
            self.state = State.WAITING
            self._report_death(how, delay_seconds)
            if delay_seconds > 0:
                self._report_change()
                await asyncio.sleep(delay_seconds)
            self.restart_count += 1

    async def _live(self) -> str:
        """Runs it from its start to its end; returns a description of how it ended."""
        began_at = processes.size(self.spec.log)
        try:
            await asyncio.to_thread(self.spec.before_start)
            if self.spec.is_handed_its_socket and self._listener is None:
                self._listener = sockets.listen(self.spec.address)
            process = await self._spawn(self.spec, self._listener)
        except (LocalRunError, OSError) as error:
            return f"could not be started: {error}"
        self._process, self.pid, self.state = process, process.pid, State.STARTING
        self._report_change()
        readiness = asyncio.create_task(self._become_ready())
        try:
            status = await process.wait()
        finally:
            readiness.cancel()
            self._process, self.pid = None, None
            processes.kill_session(process.pid)
        refuses = status == os.EX_CONFIG
        self._refusal = processes.lines_since(self.spec.log, began_at) if refuses else None
        return processes.in_words(status)

    async def _become_ready(self) -> None:
        while True:
            if await self._is_made_ready():
                break
            await asyncio.sleep(READY_POLL_SECONDS)
        self.state = State.READY
        self._hopeless.clear()
        self._ready.set()
        if self.restart_count:
            self._say(f"{self.spec.name} is ready again (pid {self.pid}).")

    async def _is_made_ready(self) -> bool:
        try:
            return await self.spec.make_ready()
        except Exception as error:  # noqa: BLE001 (it is asked again)
            self._say(f"{self.spec.name} could not be asked whether it is ready: {error!r}")
            return False

    def _report_change(self) -> None:
        try:
            self._changed()
        except Exception as error:  # noqa: BLE001 (the process goes on all the same)
            self._say(f"A change of {self.spec.name} could not be reported: {error!r}")

    def _report_death(self, how: str, delay_seconds: float) -> None:
        if self._refusal is None and not self._backoff.is_loop:
            self._say(f"{self.spec.name} {how}; it is started again.")
            return
        self._hopeless.set()
        if self._backoff.is_loop:
            how += f", for the {self._backoff.death_count}th time in a row"
        self._say(
            f"{self.spec.name} {how}; the next try is in {delay_seconds:.0f} s. Its log says why: "
            f"{self.spec.log}"
        )


class Supervisor:
    """All processes of one mesh, in the order in which they were started."""

    def __init__(
        self, *, say: Say, changed: Callable[[], None], spawn: Spawn = processes.spawn
    ) -> None:
        """`changed` is called whenever the pid of a process changes."""
        self.processes: list[SupervisedProcess] = []
        self.hurry = asyncio.Event()
        self._say, self._changed, self._spawn = say, changed, spawn

    def start(self, specs: Iterable[ProcessSpec]) -> list[SupervisedProcess]:
        started = [
            SupervisedProcess(spec, say=self._say, changed=self._changed, spawn=self._spawn)
            for spec in specs
        ]
        self.processes.extend(started)
        return started

    async def stop(self, order: Iterable[tuple[str, ...]]) -> None:
        """Stops the processes of each group of roles together, one group after the other."""
        for roles in order:
            group = [each for each in self.processes if each.spec.role in roles]
            await reported(
                asyncio.gather(*(each.stop(self.hurry) for each in group)),
                partial(_not_ended, group),
                self._say,
            )


def _not_ended(group: Iterable[SupervisedProcess]) -> list[str]:
    return not_ended([each.spec.name for each in group if each.state is not State.STOPPED])


def not_ready(group: Iterable[SupervisedProcess]) -> list[str]:
    """Those that are not ready, each with what it is."""
    return [
        f"{each.spec.name} is {each.state.value}" for each in group if each.state is not State.READY
    ]


async def wait_until_ready(
    started: Sequence[SupervisedProcess], *, timeout_seconds: float, say: Say
) -> None:
    """Raises LocalRunError when one refuses its settings, keeps dying, or is not ready in time."""
    waits = {asyncio.create_task(each.wait_until_ready()): each for each in started}
    try:
        async with asyncio.timeout(timeout_seconds):
            missing = partial(not_ready, started)
            await reported(asyncio.gather(*waits), missing, say)
    except TimeoutError:
        late = [each.spec for wait, each in waits.items() if not wait.done() or wait.cancelled()]
        names = ", ".join(f"{spec.name} (log: {spec.log})" for spec in late)
        raise LocalRunError(f"Not ready within {timeout_seconds:.0f} s: {names}.") from None
    finally:
        for wait in waits:
            wait.cancel()
