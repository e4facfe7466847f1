"""A bound_to_parent command ends with its parent, and otherwise behaves as without it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.parent_bound import PARENT_DEATH, bound_to_parent
from deploy.local.servers.server_user import ServerUser, probe

DEADLINE_SECONDS = 10.0

# Starts a bound_to_parent child, writes both pids, and waits to be killed.
PARENT = """
import subprocess, sys, time
from deploy.local.parent_bound import bound_to_parent
child = subprocess.Popen(bound_to_parent(sys.argv[1:]), start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_command_dies_with_its_parent_though_that_was_killed(repository: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, "/bin/sleep", "61"],
        cwd=repository,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        try:
            assert eventually(lambda: "sleep" in Path(f"/proc/{child_pid}/comm").read_text())
            parent.kill()
            parent.wait()
            assert eventually(lambda: not is_alive(child_pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child_pid, signal.SIGKILL)


def test_command_is_not_started_for_a_parent_that_is_gone() -> None:
    somebody_else = os.getppid()
    command = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(somebody_else)]
    result = subprocess.run(
        [*command, "9", "self", "/bin/echo", "started"], capture_output=True, check=False
    )
    assert result.returncode == 126
    assert result.stdout == b""


def test_command_keeps_the_pid_that_its_parent_knows() -> None:
    command = bound_to_parent(["/bin/sh", "-c", "echo $$"])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate()
    assert int(said) == process.pid


def test_a_missing_command_is_reported_by_name() -> None:
    result = subprocess.run(bound_to_parent(["/no/such/program"]), capture_output=True, check=False)
    assert result.returncode == 126
    assert b"/no/such/program could not be started" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("kind", ["map", "drop"])
def test_a_command_with_another_user_also_ends_with_its_parent(kind: str) -> None:
    user = ServerUser(f"{kind}:65534:65534", 0, 0)
    if not probe(user, ["/bin/true"]):
        pytest.skip(f"this kernel or container does not allow root to {kind} its user")
    shows_uid = bound_to_parent(["/usr/bin/id", "-u"], user=user.argument)
    assert subprocess.run(shows_uid, capture_output=True, check=True).stdout == b"65534\n"
    # Only the process itself could read its prctl setting, so the test kills the parent.
    survivor = (
        "import subprocess, sys\n"
        "from deploy.local.parent_bound import bound_to_parent\n"
        f"command = bound_to_parent(['/bin/sleep', '61'], user={user.argument!r})\n"
        "child = subprocess.Popen(command)\n"
        "print(child.pid, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", survivor], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert eventually(lambda: "sleep" in Path(f"/proc/{child_pid}/comm").read_text())
        parent.kill()
        parent.wait()
        assert eventually(lambda: not is_alive(child_pid))
