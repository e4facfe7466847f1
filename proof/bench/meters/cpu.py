"""CPU time by part of the mesh, from the kernel's accounting (in steps of 10 ms).

A PostgreSQL server is its postmaster with all its children. The time of a finished child is in
the postmaster's time of waited-for children, so none is lost. The mesh's processes, the
measuring and supervising processes, and everything else on the machine are counted separately.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from deploy.local.mesh_file import Process
from proof.bench.errors import BenchFailed

POSTGRES = "postgres"
RUNNER = "local runner"
LOAD = "load generator"
BENCH = "the bench itself"
STABLE_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU seconds since the start of each process: `mesh` and `beside` by part.

    `machine` is the time of all processes and the kernel since the machine started. `pids` are
    the mesh's; only readings with the same pids can be compared.
    """

    mesh: Mapping[str, float]
    beside: Mapping[str, float]
    machine: float
    pids: tuple[int, ...]


class CpuMeter:
    """Reads the parts of one mesh, and of one load generator."""

    def __init__(
        self,
        processes: Callable[[], list[Process]],
        *,
        runner_pid: int | None,
        load_pid: int | None,
    ) -> None:
        """`processes` returns the running processes. `runner_pid` is None without a supervisor;
        `load_pid` is None if the load generator does not live from one reading to the other."""
        self._processes = processes
        beside = {LOAD: load_pid, BENCH: os.getpid(), RUNNER: runner_pid}
        self._beside = {part: pid for part, pid in beside.items() if pid is not None}

    def read(self) -> CpuReading:
        """Raises BenchFailed when a process of the mesh is not running."""
        mesh: dict[str, float] = {}
        pids: list[int] = []
        for process in self._processes():
            pid = process["pid"]
            if pid is None:
                raise BenchFailed(f"{process['name']} is not running.")
            is_postgres = process["role"] == POSTGRES
            part = process["name"] if is_postgres else process["role"]
            try:
                seconds = _family_seconds(pid) if is_postgres else _own_seconds(pid)
            except psutil.NoSuchProcess:
                raise BenchFailed(f"{process['name']} ended during the measurement.") from None
            mesh[part] = mesh.get(part, 0.0) + seconds
            pids.append(pid)
        beside = {part: _own_seconds(pid) for part, pid in self._beside.items()}
        return CpuReading(mesh, beside, _machine_seconds(), tuple(pids))


@dataclass(frozen=True, slots=True)
class CpuUse:
    """CPU seconds between two readings, by part; `elsewhere` is all else on the machine."""

    mesh: Mapping[str, float]
    beside: Mapping[str, float]
    elsewhere: float

    def with_load(self, seconds: float) -> "CpuUse":
        """The same with a load generator's time, which the readings counted as elsewhere."""
        return CpuUse(self.mesh, {LOAD: seconds, **self.beside}, max(0.0, self.elsewhere - seconds))


def used_between(first: CpuReading, last: CpuReading) -> CpuUse:
    """Raises BenchFailed when a process of the mesh was started again in between."""
    if first.pids != last.pids:
        raise BenchFailed("A process of the mesh was restarted during the measurement.")
    mesh = {part: seconds - first.mesh[part] for part, seconds in last.mesh.items()}
    beside = {part: seconds - first.beside[part] for part, seconds in last.beside.items()}
    known = sum(mesh.values()) + sum(beside.values())
    # The kernel's two accounts differ by some ticks.
    return CpuUse(mesh, beside, max(0.0, last.machine - first.machine - known))


def _own_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _family_seconds(postmaster_pid: int) -> float:
    """Repeats while children start or exit, so that none is missed or counted twice."""
    postmaster = psutil.Process(postmaster_pid)
    for _ in range(STABLE_ATTEMPTS):
        children = postmaster.children()
        seconds = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in children:
                seconds += _own_seconds(child.pid)
            own = postmaster.cpu_times()
            if postmaster.children() == children:
                waited_for = own.children_user + own.children_system
                return float(seconds + own.user + own.system + waited_for)
    raise BenchFailed("PostgreSQL starts and ends processes all the time; its CPU can't be read.")


def _machine_seconds() -> float:
    """The time of all cores that was not idle, including time stolen by a hypervisor."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq + times.steal)
