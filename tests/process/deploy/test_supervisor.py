"""The supervisor restarts and stops processes; with real, small ones."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent
from deploy.local.supervision.processes import ProcessSpec
from deploy.local.supervision.supervisor import State, Supervisor, wait_until_ready

TIMEOUT_SECONDS = 15.0

OBEDIENT = "import time, pathlib, sys; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"
FAULTS = "\n".join(f"  VARIABLE_{number}: is wrong" for number in range(30))
REFUSING = f"import os; os.write(2, b'Settings are wrong:\\n' + {FAULTS.encode()!r}); os._exit(78)"
DYING = "raise SystemExit('the reason why')"


class Stage:
    """A supervisor whose messages are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.change_count = 0
        self.failing_count = 0
        """How many of the next changes cannot be reported."""
        self.supervisor = Supervisor(say=self.said.append, changed=self._count)

    def _count(self) -> None:
        self.change_count += 1
        if self.failing_count > 0:
            self.failing_count -= 1
            raise OSError("no space left")

    def spec(self, name: str, program: str, *, role: str = "service") -> ProcessSpec:
        sign = self.folder / f"{name}.ready"

        async def is_ready() -> bool:
            return sign.exists()

        return ProcessSpec(
            name=name,
            role=role,
            address="",
            command=bound_to_parent([sys.executable, "-S", "-c", program, sign]),
            environment=os.environ,
            folder=self.folder,
            log=self.folder / f"{name}.log",
            make_ready=is_ready,
            before_start=lambda: sign.unlink(missing_ok=True),
        )

    def heard(self, words: str) -> bool:
        return any(words in sentence for sentence in self.said)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.hurry.set()
    await stage.supervisor.stop([("first", "service", "last")])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def test_killed_process_is_started_again_at_once(stage: Stage) -> None:
    [process] = stage.supervisor.start([stage.spec("one", OBEDIENT)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    first_pid = process.pid
    assert first_pid is not None
    changes = stage.change_count
    killed_at = time.monotonic()
    os.kill(first_pid, signal.SIGKILL)
    await until(lambda: process.pid not in (None, first_pid))
    assert time.monotonic() - killed_at < 0.2
    assert stage.change_count > changes
    await until(lambda: process.state is State.READY)
    assert stage.heard("one was ended by SIGKILL; it is started again.")
    await until(lambda: stage.heard(f"one is ready again (pid {process.pid})"))


async def test_a_crash_loop_is_reported_with_the_log_and_fails_the_start(stage: Stage) -> None:
    [process] = stage.supervisor.start([stage.spec("one", DYING)])
    with pytest.raises(LocalRunError) as failure:
        await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert "the reason why" in str(failure.value)
    assert stage.heard(str(stage.folder / "one.log"))
    assert process.restart_count == 4


async def test_a_refused_setting_fails_the_start_at_once_with_all_its_faults(stage: Stage) -> None:
    (stage.folder / "one.log").write_text("a line of an earlier start\n")
    [process] = stage.supervisor.start([stage.spec("one", REFUSING)])
    with pytest.raises(LocalRunError) as failure:
        await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert str(failure.value) == f"one does not start. Settings are wrong:\n{FAULTS}"
    assert process.restart_count == 0
    assert stage.heard("one refuses its settings; the next try is in 5 s.")


async def test_a_process_that_is_never_ready_is_named(stage: Stage) -> None:
    [process] = stage.supervisor.start([stage.spec("one", "import time; time.sleep(60)")])
    with pytest.raises(LocalRunError, match=r"Not ready within 0 s: one \(log: .*one.log\)"):
        await wait_until_ready([process], timeout_seconds=0.3, say=stage.said.append)


async def test_a_start_that_raises_is_tried_again(stage: Stage) -> None:
    attempts: list[int] = []

    def fail_once() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise LocalRunError("not yet")

    spec = replace(stage.spec("one", OBEDIENT), before_start=fail_once)
    [process] = stage.supervisor.start([spec])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert stage.heard("one could not be started: not yet")


async def test_waits_say_what_they_wait_for(stage: Stage) -> None:
    late = "import time; time.sleep(3.5); " + STUBBORN
    spec = replace(stage.spec("one", late), stop_steps=((signal.SIGTERM, 3.5),))
    started = stage.supervisor.start([spec, stage.spec("other", OBEDIENT)])
    await wait_until_ready(started, timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert stage.said == ["Waiting: one is starting."]
    await stage.supervisor.stop([("service",)])
    assert stage.said[1] == "Waiting: one not ended yet."


async def test_groups_stop_one_after_the_other(stage: Stage) -> None:
    processes = stage.supervisor.start(
        [stage.spec("a", OBEDIENT, role="last"), stage.spec("b", OBEDIENT, role="first")]
    )
    await wait_until_ready(processes, timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    last, first = processes
    await stage.supervisor.stop([("first",)])
    assert (first.state, last.state) == (State.STOPPED, State.READY)
    await stage.supervisor.stop([("last",)])
    assert last.state is State.STOPPED
    assert not stage.heard("started again")


async def test_a_process_that_ignores_its_signal_is_killed(stage: Stage) -> None:
    spec = replace(stage.spec("one", STUBBORN), stop_steps=((signal.SIGTERM, 0.2),))
    [process] = stage.supervisor.start([spec])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    await stage.supervisor.stop([("service",)])
    assert process.pid is None
    assert stage.heard("one did not heed SIGTERM")


async def test_hurry_does_not_wait(stage: Stage) -> None:
    [process] = stage.supervisor.start([stage.spec("one", STUBBORN)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    stopping = asyncio.create_task(stage.supervisor.stop([("service",)]))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    stage.supervisor.hurry.set()
    async with asyncio.timeout(2):
        await stopping


async def test_a_process_that_waits_for_its_restart_can_be_stopped(stage: Stage) -> None:
    [process] = stage.supervisor.start([stage.spec("one", DYING)])
    await until(lambda: process.restart_count >= 3)
    async with asyncio.timeout(2):
        await stage.supervisor.stop([("service",)])
    assert process.state is State.STOPPED


async def test_children_of_a_dead_process_do_not_stay(stage: Stage) -> None:
    program = (
        "import subprocess, pathlib, sys, time; "
        "child = subprocess.Popen(['/bin/sleep', '61']); "
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(60)"
    )
    [process] = stage.supervisor.start([stage.spec("one", program)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    sign = stage.folder / "one.ready"
    await until(lambda: sign.exists() and bool(sign.read_text()))
    child = Path(f"/proc/{sign.read_text()}/comm")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    # A zombie may remain if it is not reaped here; it only must not run any more.
    state = child.with_name("stat")
    await until(lambda: not state.exists() or state.read_text().split()[2] == "Z")


async def test_a_report_that_fails_leaves_no_process_alone(stage: Stage) -> None:
    """mesh.json on a full disk, for example."""
    [process] = stage.supervisor.start([stage.spec("one", OBEDIENT)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    first_pid = process.pid
    assert first_pid is not None
    stage.failing_count = 1
    os.kill(first_pid, signal.SIGKILL)
    await until(lambda: stage.failing_count == 0)
    await until(lambda: process.state is State.READY)
    assert process.pid not in (None, first_pid)
    assert stage.heard("A change of one could not be reported: OSError")


async def test_an_unforeseen_error_does_not_end_the_supervision(stage: Stage) -> None:
    spec = stage.spec("one", OBEDIENT)
    failures = [RuntimeError("a bug")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    [process] = stage.supervisor.start([replace(spec, before_start=fail_once)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert stage.heard("one could not be supervised: RuntimeError")


async def test_a_question_that_fails_is_asked_again(stage: Stage) -> None:
    spec = stage.spec("one", OBEDIENT)
    failures = [OSError("too many open files")]

    async def fail_once() -> bool:
        if failures:
            raise failures.pop()
        return True

    [process] = stage.supervisor.start([replace(spec, make_ready=fail_once)])
    await wait_until_ready([process], timeout_seconds=TIMEOUT_SECONDS, say=stage.said.append)
    assert stage.heard("one could not be asked whether it is ready")
