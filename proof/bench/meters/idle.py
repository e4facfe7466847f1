"""The cost of a mesh without load: CPU time, wake-ups and memory of each part.

A part is the processes of one role with all their children, such as the hashing process of an
account_svc. The local runner is a part too, because the mesh is not up without it.

A process at rest uses less CPU time than the 10 ms in which `/proc` counts, so the CPU clock of
each process is read instead, which counts nanoseconds.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.local.mesh_file import Process
from proof.bench.errors import BenchFailed
from proof.bench.meters.cpu import RUNNER, STABLE_ATTEMPTS

PROCESSES = Path("/proc")
_SWITCHES = "voluntary_ctxt_switches:"
_PROCESS_CLOCK = 2
"""CPUCLOCK_SCHED of Linux, for a whole process: see clock_getcpuclockid(3)."""


@dataclass(frozen=True, slots=True)
class IdlePart:
    """One part, or the whole mesh. `core_share` is of one core, 0.01 for one per cent.

    `wake_ups_per_second` are the times that a thread had waited and ran again. `pss_bytes` is the
    proportional set size: a page that several processes share counts in equal parts.
    """

    core_share: float
    wake_ups_per_second: float
    pss_bytes: int
    process_count: int

    def __add__(self, other: "IdlePart") -> "IdlePart":
        return IdlePart(
            self.core_share + other.core_share,
            self.wake_ups_per_second + other.wake_ups_per_second,
            self.pss_bytes + other.pss_bytes,
            self.process_count + other.process_count,
        )


NOTHING = IdlePart(0.0, 0.0, 0, 0)


@dataclass(frozen=True, slots=True)
class IdleSample:
    """One window without load, by part."""

    parts: Mapping[str, IdlePart]

    @property
    def whole(self) -> IdlePart:
        """All parts together."""
        return sum(self.parts.values(), NOTHING)

    def part(self, name: str) -> IdlePart:
        """Nothing for a part that this mesh lacks."""
        return self.parts.get(name, NOTHING)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Of one part. `wake_up_counts` are by thread, because a thread that ends takes its count
    with it; the CPU time of a process that ends goes to its parent."""

    cpu_seconds: float
    wake_up_counts: Mapping[int, int]
    pss_bytes: int
    process_count: int

    def since(self, first: "_Reading", seconds: float) -> IdlePart:
        wake_up_count = sum(
            count - first.wake_up_counts.get(thread, 0)
            for thread, count in self.wake_up_counts.items()
        )
        return IdlePart(
            core_share=(self.cpu_seconds - first.cpu_seconds) / seconds,
            wake_ups_per_second=wake_up_count / seconds,
            pss_bytes=self.pss_bytes,
            process_count=self.process_count,
        )


def measure_idle(
    processes: Sequence[Process],
    runner_pid: int | None,
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> IdleSample:
    """Measures for `seconds`, in which nothing should use the mesh; memory is that at the end.

    `runner_pid` is None without a supervisor. Raises BenchFailed if a process of the mesh ends,
    or its memory cannot be read.
    """
    roots = _roots(processes, runner_pid)
    first = _read_all(roots)
    began_at = time.perf_counter()
    sleep(seconds)
    passed_seconds = time.perf_counter() - began_at
    last = _read_all(roots)
    return IdleSample(
        {part: reading.since(first[part], passed_seconds) for part, reading in last.items()}
    )


def cpu_seconds(processes: Sequence[Process], runner_pid: int | None) -> float:
    """What all processes of a mesh have used since they were started, with children that ended.
    Raises BenchFailed."""
    return sum(each.cpu_seconds for each in _read_all(_roots(processes, runner_pid)).values())


def _read_all(roots: Mapping[str, Sequence[int]]) -> dict[str, _Reading]:
    """Repeats while children end, so that none is missed or counted twice."""
    for _ in range(STABLE_ATTEMPTS):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            return {part: _read(pids) for part, pids in _families(roots).items()}
    raise BenchFailed("A process of the mesh ended while it was measured at rest.")


def _roots(processes: Sequence[Process], runner_pid: int | None) -> dict[str, list[int]]:
    """The pids of each role, without children; the runner, whose children are all others, last."""
    roots: dict[str, list[int]] = {}
    for process in processes:
        if process["pid"] is None:
            raise BenchFailed(f"{process['name']} is not running.")
        roots.setdefault(process["role"], []).append(process["pid"])
    return roots if runner_pid is None else roots | {RUNNER: [runner_pid]}


def _families(roots: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The pids of each part. No pid is in two parts."""
    taken: set[int] = set()
    families: dict[str, list[int]] = {}
    for part, pids in roots.items():
        family = [each for pid in pids for each in _family(pid) if each not in taken]
        taken.update(family)
        families[part] = family
    return families


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in psutil.Process(pid).children(recursive=True):
        yield child.pid


def _read(pids: Sequence[int]) -> _Reading:
    return _Reading(
        cpu_seconds=sum(_cpu_seconds(pid) for pid in pids),
        wake_up_counts={thread: count for pid in pids for thread, count in _wake_up_counts(pid)},
        pss_bytes=sum(_pss_bytes(pid) for pid in pids),
        process_count=len(pids),
    )


def _cpu_seconds(pid: int) -> float:
    """Of the process and of its children that ended."""
    times = psutil.Process(pid).cpu_times()
    own = time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    return float(own + times.children_user + times.children_system)


def _wake_up_counts(pid: int) -> Iterator[tuple[int, int]]:
    for thread in (PROCESSES / str(pid) / "task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        count = next(line for line in lines if line.startswith(_SWITCHES))
        yield int(thread.name), int(count.removeprefix(_SWITCHES))


def _pss_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.AccessDenied:
        raise BenchFailed(
            f"The memory of process {pid} cannot be read: it belongs to another user."
        ) from None
