"""The hashing process: its answers, its death, its freezing and its priority."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from account_svc.adapters.hashing_process import COMMAND, HashingFailed, HashingProcess
from account_svc.adapters.passwords import Passwords
from mesh.process.priority import BACKGROUND

# Hashes a password, writes the pid of its hashing process, and waits to be killed.
SERVICE = """
import asyncio
from account_svc.adapters.hashing_process import HashingProcess
from account_svc.adapters.passwords import Passwords
process = HashingProcess()
asyncio.run(Passwords(process=process).hash("a long password"))
print(process.pid, flush=True)
input()
"""


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


async def test_only_the_right_password_is_accepted(passwords: Passwords) -> None:
    for password in ("a long password", 'quotes " and \n lines', "\u5bc6\u7801 \N{FIRE}"):
        hashed = await passwords.hash(password)
        assert hashed.startswith("$argon2id$")
        assert (await passwords.verify(hashed, password)).is_right
        assert not (await passwords.verify(hashed, password + " ")).is_right
    assert not (await passwords.verify(None, "a long password")).is_right
    assert not (await passwords.verify("no hash", "a long password")).is_right


async def test_a_process_that_was_killed_is_started_again_for_the_same_password() -> None:
    process = HashingProcess()
    passwords = Passwords(process=process)
    hashed = await passwords.hash("a long password")
    first_pid = process.pid
    assert first_pid is not None
    os.kill(first_pid, signal.SIGKILL)
    assert (await passwords.verify(hashed, "a long password")).is_right
    assert process.pid not in (None, first_pid)
    passwords.close()
    assert process.pid is None


async def test_a_process_that_is_frozen_is_replaced_for_the_same_password() -> None:
    process = HashingProcess(answer_timeout_seconds=3.0)
    passwords = Passwords(process=process)
    hashed = await passwords.hash("a long password")
    first_pid = process.pid
    assert first_pid is not None
    os.kill(first_pid, signal.SIGSTOP)
    async with asyncio.timeout(30):
        assert (await passwords.verify(hashed, "a long password")).is_right
    assert process.pid not in (None, first_pid)
    with pytest.raises(ProcessLookupError):
        os.kill(first_pid, 0)
    passwords.close()


async def test_a_frozen_process_does_not_delay_the_end_of_the_service() -> None:
    process = HashingProcess(answer_timeout_seconds=60.0)
    passwords = Passwords(process=process)
    await passwords.hash("a long password")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    running = asyncio.create_task(passwords.hash("a long password"))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    passwords.close()
    assert time.monotonic() - began < 3
    with pytest.raises(HashingFailed):
        await running
    assert process.pid is None


async def test_an_idle_frozen_process_does_not_delay_the_end_of_the_service() -> None:
    process = HashingProcess()
    passwords = Passwords(process=process)
    await passwords.hash("a long password")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    passwords.close()
    assert time.monotonic() - began < 3
    assert process.pid is None


@pytest.mark.parametrize("niceness", [0, BACKGROUND, 15])
async def test_hashing_has_the_priority_of_its_setting_in_a_session_of_its_own(
    niceness: int,
) -> None:
    process = HashingProcess(niceness)
    passwords = Passwords(process=process)
    await passwords.hash("a long password")
    assert process.pid is not None
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(own, niceness)
    assert os.getsid(process.pid) == process.pid
    passwords.close()


@pytest.mark.parametrize("is_frozen", [True, False])
def test_the_process_ends_with_a_service_that_was_killed(is_frozen: bool) -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        try:
            if is_frozen:
                os.kill(pid, signal.SIGSTOP)
            service.kill()
            service.wait()
            assert has_ended(pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_it_does_not_start_for_a_service_that_is_gone() -> None:
    command = [*COMMAND, str(BACKGROUND), str(os.getppid())]
    done = subprocess.run(command, input=b'["a password"]\n', capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def has_ended(pid: int) -> bool:
    """Whether a process ends within 10 s. One that nobody has waited for yet has ended too."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
