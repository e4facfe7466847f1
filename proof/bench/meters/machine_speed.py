"""Measures the machine's present speed by two fixed pieces of work.

The speed of machines that share their processor changes from minute to minute. Two runs are
comparable if these two figures agree: one is plain computing, the other is one process waking
another, which is most of the cost of calls between processes.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

ADDITIONS = 1_000_000
ROUND_TRIPS = 2_000
MESSAGE = b"x"
_ECHO = "import os\nwhile byte := os.read(0, 1): os.write(1, byte)"


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """`additions_ms` is the CPU time of a million additions in Python; `wake_up_us` is half
    of a byte's way through a pipe to a process on another core (if there is one) and back."""

    additions_ms: float
    wake_up_us: float


def measure_speed() -> MachineSpeed:
    """Takes about a quarter of a second."""
    return MachineSpeed(_additions_ms(), _wake_up_us())


def median_speed(speeds: Sequence[MachineSpeed]) -> MachineSpeed:
    """The median of each figure; needs at least one speed."""
    return MachineSpeed(
        statistics.median(speed.additions_ms for speed in speeds),
        statistics.median(speed.wake_up_us for speed in speeds),
    )


def _additions_ms() -> float:
    began_at = time.process_time()
    total = 0
    for number in range(ADDITIONS):
        total += number
    return (time.process_time() - began_at) * 1000


def _wake_up_us() -> float:
    command = [sys.executable, "-I", "-S", "-c", _ECHO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as echo:
        assert echo.stdin is not None, "a pipe was asked for"
        assert echo.stdout is not None, "and another"
        to_echo, from_echo = echo.stdin.fileno(), echo.stdout.fileno()
        with _on_another_core(echo.pid):
            _round_trip(to_echo, from_echo)  # the first waits for Python to start
            began_at = time.perf_counter()
            for _ in range(ROUND_TRIPS):
                _round_trip(to_echo, from_echo)
            return (time.perf_counter() - began_at) / ROUND_TRIPS / 2 * 1e6


@contextmanager
def _on_another_core(pid: int) -> Iterator[None]:
    """Pins this thread and that process to different cores: on one core they are many times
    faster."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(pid, {max(cores)})
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _round_trip(to_echo: int, from_echo: int) -> None:
    os.write(to_echo, MESSAGE)
    os.read(from_echo, len(MESSAGE))
