"""One measurement: runs a load generator, and reads the cost of the load."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from proof.bench.figures import Sample, Usage, sample_of
from proof.bench.load.ghz import run_ghz
from proof.bench.load.load_process import LoadProcess
from proof.bench.load.window import CLOSED, OPENED, WindowResult
from proof.bench.measured_mesh import runner_pid
from proof.bench.meters.batches import difference, read_batches
from proof.bench.meters.counters import CounterReader
from proof.bench.meters.cpu import CpuMeter, used_between
from proof.bench.meters.idle import IdleSample, measure_idle
from proof.stack import Mesh

REPORT_SECONDS = 1.2
"""Until PostgreSQL's idle processes have reported all their counters."""


@dataclass(frozen=True, slots=True)
class Meters:
    """The meters that are read before and after a load."""

    mesh: Mesh
    counters: CounterReader


class _Readings:
    """All meters, read one right after the other. Reading batches costs the processes CPU time,
    so they are read outside the time in which CPU is measured."""

    def __init__(self, meters: Meters, load_pid: int | None) -> None:
        """`load_pid` is None if the load generator does not run yet."""
        self._meters = meters
        self._processes = meters.mesh.read()["processes"]
        self._cpu = CpuMeter(
            lambda: meters.mesh.read()["processes"],
            runner_pid=runner_pid(meters.mesh),
            load_pid=load_pid,
        )
        self._batches = read_batches(self._processes)
        self._at_seconds = time.perf_counter()
        self._first_cpu = self._cpu.read()
        self._counted = meters.counters.read()

    def usage_until_now(self) -> Usage:
        """Raises BenchFailed when a process of the mesh ended in between."""
        seconds = time.perf_counter() - self._at_seconds
        cpu = used_between(self._first_cpu, self._cpu.read())
        counted = self._meters.counters.read() - self._counted
        batches = read_batches(self._processes)
        return Usage(cpu, counted, difference(self._batches, batches), seconds)


def measure(meters: Meters, module: str, settings: object) -> Sample:
    """Runs `module` with its settings to the end. Raises BenchFailed."""
    load = LoadProcess(module, settings)
    try:
        load.wait_for(OPENED)
        readings = _Readings(meters, load.pid)
        load.wait_for(CLOSED)
        used = readings.usage_until_now()
        load.stop()
        result = WindowResult(**load.result())
    finally:
        load.kill()
    rate = result.operation_count / result.duration_seconds
    return sample_of(result, used, operations=rate * used.seconds)


def measure_at_rest(meters: Meters, quiet_seconds: float, seconds: float) -> IdleSample:
    """Waits until the last load is over, and measures the mesh without load. Raises BenchFailed."""
    time.sleep(quiet_seconds)
    return measure_idle(meters.mesh.read()["processes"], runner_pid(meters.mesh), seconds)


def measure_ghz(meters: Meters, program: str, tokens: Sequence[str], seconds: float) -> Sample:
    """Runs ghz at the first gacha_svc, and measures its whole run. Raises BenchFailed."""
    address = meters.mesh.processes("gacha_svc")[0]["address"]
    time.sleep(REPORT_SECONDS)
    readings = _Readings(meters, None)
    run = run_ghz(program, address, tokens, seconds, meters.mesh.operator_files)
    time.sleep(REPORT_SECONDS)
    used = readings.usage_until_now()
    used = dataclasses.replace(used, cpu=used.cpu.with_load(run.cpu_seconds))
    return sample_of(run.result, used, operations=run.result.operation_count)
