"""The cost of processes at rest, measured on real ones that use what the test tells them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from deploy.local.mesh_file import Process
from proof.bench.errors import BenchFailed
from proof.bench.meters.cpu import RUNNER
from proof.bench.meters.idle import IdlePart, cpu_seconds, measure_idle

CPU_SECONDS = 0.2
MIB = 1 << 20
# Does what each line says, and answers with an empty line.
OBEDIENT = f"""
import subprocess, sys, threading, time
burn = "import time\\nwhile time.process_time() < {CPU_SECONDS}: pass"
child = subprocess.Popen(["/bin/sleep", "600"])
print(flush=True)
for line in sys.stdin:
    command = line.strip()
    if command == "burn":
        exec(f"import time; end = time.process_time() + {CPU_SECONDS}\\n"
             "while time.process_time() < end: pass")
    elif command == "burn in a child":
        subprocess.run([sys.executable, "-I", "-S", "-c", burn])
    elif command == "burn in a thread":
        thread = threading.Thread(target=exec, args=(burn.replace("process", "thread"), dict()))
        thread.start()
        thread.join()
    elif command == "wake up":
        for _ in range(100): time.sleep(0.0005)
    elif command == "grow":
        grown = b"x" * {100 * MIB}
    elif command == "end the child":
        child.kill()
        child.wait()
    print(flush=True)
"""


@pytest.fixture
def obedient() -> Iterator["subprocess.Popen[str]"]:
    """A process with one child, which rests."""
    command = [sys.executable, "-c", OBEDIENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        _tell(process, "end the child")
        process.kill()


def _tell(process: "subprocess.Popen[str]", *commands: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for command in commands:
        process.stdin.write(f"{command}\n")
        process.stdin.flush()
        process.stdout.readline()


def _process(pid: int | None) -> Process:
    return {"name": "a-1", "role": "a", "pid": pid, "address": "host:1", "metrics": None}


def _measured(process: "subprocess.Popen[str]", *commands: str) -> tuple[IdlePart, float]:
    """The part, and the seconds of the window in which the process obeyed the commands."""
    passed_seconds = 0.0

    def obey(seconds: float) -> None:
        nonlocal passed_seconds
        assert seconds == 1.5
        began_at = time.perf_counter()
        _tell(process, *commands)
        time.sleep(0.1)
        passed_seconds = time.perf_counter() - began_at

    sample = measure_idle([_process(process.pid)], None, 1.5, sleep=obey)
    assert list(sample.parts) == ["a"]
    return sample.part("a"), passed_seconds


@pytest.mark.parametrize("command", ["burn", "burn in a child", "burn in a thread"])
def test_cpu_time_counts_also_of_threads_and_children_that_ended(
    obedient: "subprocess.Popen[str]", command: str
) -> None:
    part, seconds = _measured(obedient, command)
    # A child's own start is in it, and the kernel counts ended children in steps of 10 ms.
    assert CPU_SECONDS - 0.02 < part.core_share * seconds < CPU_SECONDS + 0.2


def test_a_start_has_the_cpu_time_of_all_its_processes(obedient: "subprocess.Popen[str]") -> None:
    before = cpu_seconds([_process(obedient.pid)], None)
    _tell(obedient, "burn", "burn in a child")
    used = cpu_seconds([_process(obedient.pid)], None) - before
    assert 2 * CPU_SECONDS - 0.02 < used < 2 * CPU_SECONDS + 0.2


def test_rest_costs_nothing(obedient: "subprocess.Popen[str]") -> None:
    part, seconds = _measured(obedient)
    assert part.core_share * seconds < 0.002
    assert part.wake_ups_per_second * seconds <= 2
    assert part.process_count == 2


def test_wake_ups_count(obedient: "subprocess.Popen[str]") -> None:
    part, seconds = _measured(obedient, "wake up")
    assert 95 < part.wake_ups_per_second * seconds < 110


def test_memory_is_that_at_the_end_and_children_count(obedient: "subprocess.Popen[str]") -> None:
    before, _ = _measured(obedient)
    after, _ = _measured(obedient, "grow", "end the child")
    assert 95 * MIB < after.pss_bytes - before.pss_bytes < 105 * MIB
    assert (before.process_count, after.process_count) == (2, 1)


def test_the_runner_has_the_children_that_no_role_has(obedient: "subprocess.Popen[str]") -> None:
    whole_count = 1 + len(psutil.Process().children(recursive=True))
    sample = measure_idle([_process(obedient.pid)], os.getpid(), 0.0)
    assert list(sample.parts) == ["a", RUNNER]
    assert sample.part("a").process_count == 2
    assert sample.part(RUNNER).process_count == whole_count - 2
    assert sample.whole.process_count == whole_count


def test_a_process_that_ends_or_does_not_run_is_an_error(
    obedient: "subprocess.Popen[str]",
) -> None:
    with pytest.raises(BenchFailed, match="a-1 is not running"):
        measure_idle([_process(None)], None, 0.0)
    short = subprocess.Popen(["/bin/sleep", "600"])

    def end(_seconds: float) -> None:
        short.kill()
        short.wait()

    with short, pytest.raises(BenchFailed, match="ended while it was measured"):
        measure_idle([_process(short.pid)], None, 1.0, sleep=end)
