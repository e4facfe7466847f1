"""Programs that are forked from the template process, compared with programs started alone."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local import source_code
from deploy.local.forking import preloading
from deploy.local.forking.forks import Forks
from deploy.local.layout import REPOSITORY
from deploy.local.supervision.processes import Process, ProcessSpec
from deploy.local.supervision.sockets import LISTEN_FD

SHOW = """
import json, os, sys
shown = {
    "argv": sys.argv[1:], "name": __name__, "folder": os.getcwd(), "session": os.getsid(0),
    "environment": dict(os.environ), "import_from": sys.path[0], "stdin": sys.stdin.read(),
    "modules": list(sys.modules), "pid": os.getpid(),
    "threads": len(os.listdir("/proc/self/task")),
}
print(json.dumps(shown))
"""
ENDS = {
    "pass": (0, ""),
    "raise SystemExit(3)": (3, ""),
    "raise SystemExit('a sentence')": (1, "a sentence"),
    "raise LookupError('no such key')": (1, "LookupError: no such key"),
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": (-15, ""),
}
SHOW_CODE = """
import sys
is_preloaded = "mesh.rounds" in sys.modules
from mesh.rounds import INTERVAL_SECONDS
print(INTERVAL_SECONDS, is_preloaded)
"""
WAIT = "import time\nprint('runs', flush=True)\ntime.sleep(600)"


@dataclass
class Stage:
    folder: Path
    forks: Forks
    said: list[str] = field(default_factory=list)
    repository: Path = REPOSITORY

    def spec(self, program: str, *arguments: str) -> ProcessSpec:
        name = f"program_{len(list(self.folder.glob('program_*.py')))}"
        (self.folder / f"{name}.py").write_text(program)
        return ProcessSpec(
            name=name,
            role="program",
            address="",
            command=[sys.executable, "-m", name, *arguments],
            environment={"PYTHONPATH": str(self.repository), "PYTHONUNBUFFERED": "1"},
            folder=self.folder,
            log=self.folder / f"{name}.log",
            make_ready=_never,
            program=(name, *arguments),
        )

    async def waiting(self) -> Process:
        """A process that runs until it is killed."""
        spec = self.spec(WAIT)
        process = await self.forks.spawn(spec)
        await until(lambda: "runs" in spec.log.read_text())
        return process

    @property
    def templates(self) -> list[psutil.Process]:
        return [
            each
            for each in psutil.Process().children()
            if "deploy.local.forking.template" in each.cmdline()
        ]

    @property
    def template(self) -> psutil.Process:
        (template,) = self.templates
        return template


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def _never() -> bool:
    return False


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "ONLY": "template"}
    said: list[str] = []
    log = tmp_path / "template.log"
    forks = Forks(environment, REPOSITORY, log, say=said.append, fork_timeout_seconds=20.0)
    yield Stage(tmp_path, forks, said)
    await forks.close()


@pytest.fixture
def repository_copy(tmp_path: Path) -> Path:
    """The code of the mesh, to be changed."""
    copy = tmp_path / "repository"
    for package in source_code.PACKAGES:
        shutil.copytree(REPOSITORY / package, copy / package)
    return copy


@pytest.fixture
async def copied(stage: Stage, repository_copy: Path) -> AsyncIterator[Stage]:
    """A stage whose template process imports the copy."""
    environment = {"PYTHONPATH": str(repository_copy), "PYTHONUNBUFFERED": "1"}
    log = stage.folder / "copied.log"
    forks = Forks(environment, repository_copy, log, say=stage.said.append)
    yield Stage(stage.folder, forks, stage.said, repository_copy)
    await forks.close()


async def seen(stage: Stage, program: str, *arguments: str) -> str:
    """What the program wrote, once it has ended."""
    spec = stage.spec(program, *arguments)
    await (await stage.forks.spawn(spec)).wait()
    return spec.log.read_text().strip()


async def shown(stage: Stage) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(await seen(stage, SHOW, "one", "two words"))
    return shown


async def test_a_program_begins_as_if_it_was_started_alone(stage: Stage) -> None:
    what = await shown(stage)
    assert what["argv"] == ["one", "two words"]
    assert what["name"] == "__main__"
    assert what["folder"] == what["import_from"] == str(stage.folder)
    assert what["environment"] == {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    assert what["session"] == what["pid"]
    assert what["stdin"] == ""
    assert not stage.said


async def test_a_program_whose_request_is_too_long_is_started_alone(stage: Stage) -> None:
    first = await stage.waiting()
    spec = stage.spec("import os; print(len(os.environ['LONG']))")
    alone = await stage.forks.spawn(
        replace(spec, environment={**spec.environment, "LONG": "\u00e4" * 25_000})
    )
    assert await alone.wait() == 0
    assert spec.log.read_text() == "25000\n"
    assert "started alone" in stage.said[-1]
    assert first.returncode is None


async def test_it_has_what_programs_import_and_no_thread_more(stage: Stage) -> None:
    what = await shown(stage)
    parts = {f"{program}.config" for program in preloading.PROGRAMS}
    assert {"grpc", "mesh.process.runtime", *parts} <= set(what["modules"])
    assert "account_svc.__main__" not in what["modules"], "it is run anew"
    assert what["threads"] == 1


async def test_after_a_change_of_the_code_a_program_runs_the_code_as_it_is(
    copied: Stage, repository_copy: Path
) -> None:
    code = repository_copy / "mesh" / "rounds.py"
    assert await seen(copied, SHOW_CODE) == "1.0 True"
    code.write_text(code.read_text().replace("INTERVAL_SECONDS = 1.0", "INTERVAL_SECONDS = 2.0"))
    assert await seen(copied, SHOW_CODE) == "2.0 False"
    what = json.loads(await seen(copied, SHOW, "one", "two words"))
    assert what["argv"] == ["one", "two words"]
    assert what["environment"]["PYTHONPATH"] == str(repository_copy)
    assert not copied.said


@pytest.mark.parametrize("is_changed", [False, True])
async def test_it_gets_its_listening_socket(
    copied: Stage, repository_copy: Path, *, is_changed: bool
) -> None:
    if is_changed:
        await copied.forks.start()
        await seen(copied, "pass")
        (repository_copy / "mesh" / "new.py").touch()
    program = f"import os, socket\nsocket.socket(fileno=int(os.environ['{LISTEN_FD}'])).accept()"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await copied.forks.spawn(copied.spec(program), listener)
        socket.create_connection(listener.getsockname()).close()
        assert await process.wait() == 0


@pytest.mark.parametrize("program", ENDS)
async def test_its_end_is_reported_with_its_status(stage: Stage, program: str) -> None:
    status, said = ENDS[program]
    spec = stage.spec(program)
    process = await stage.forks.spawn(spec)
    assert await process.wait() == status
    assert process.returncode == status
    assert spec.log.read_text().strip().endswith(said)
    with pytest.raises(ProcessLookupError):
        process.send_signal(signal.SIGTERM)


async def test_it_is_seen_under_its_own_name_and_takes_signals(stage: Stage) -> None:
    process = await stage.waiting()
    command = psutil.Process(process.pid).cmdline()
    assert [word for word in command if word][1:] == ["-m", "program_0"]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == -signal.SIGTERM


async def test_what_a_killed_template_forked_ends_and_the_next_fork_works(stage: Stage) -> None:
    processes = [await stage.waiting() for _ in range(2)]
    stage.template.kill()
    assert [await each.wait() for each in processes] == [-signal.SIGKILL] * 2
    assert await (await stage.forks.spawn(stage.spec("pass"))).wait() == 0
    assert not stage.said


async def test_a_program_that_cannot_be_forked_is_started_alone(tmp_path: Path) -> None:
    said: list[str] = []
    log = tmp_path / "template.log"
    forks = Forks({}, REPOSITORY, log, say=said.append, fork_timeout_seconds=0.5)
    stage = Stage(tmp_path, forks)
    try:
        await forks.start()
        await until(lambda: len(stage.templates) == 1)
        stage.template.send_signal(signal.SIGSTOP)
        spec = stage.spec("print('alone')")
        process = await forks.spawn(spec)
        assert await process.wait() == 0
        assert [line.partition(",")[0] for line in said] == ["program_0 could not be forked"]
        stage.template.send_signal(signal.SIGCONT)
        await stage.waiting()
        assert spec.log.read_text() == "alone\n", "a request that nobody waits for is ignored"
    finally:
        await forks.close()


def test_everything_ends_when_the_runner_is_killed(tmp_path: Path) -> None:
    runner = f"""
import asyncio
from pathlib import Path
from deploy.local.forking.forks import Forks
from tests.process.deploy.test_forks import Stage
async def main():
    folder = Path({str(tmp_path)!r})
    forks = Forks({{}}, Path({str(REPOSITORY)!r}), folder / "template.log", say=print)
    process = await Stage(folder, forks).waiting()
    print(process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    command = [sys.executable, "-c", runner]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    template = psutil.Process(child.ppid())
    process.kill()
    process.communicate()
    psutil.wait_procs([child, template], timeout=20)
    assert not child.is_running()
    assert not template.is_running()
