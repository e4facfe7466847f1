"""One measurement: runs what makes load, and reads what that cost."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from bench.batches import difference, read_batches
from bench.counters import CounterReader
from bench.cpu import CpuMeter, used_between
from bench.errors import BenchFailed
from bench.figures import Sample, Used, sample_of
from bench.ghz import run_ghz
from bench.target import runner_pid
from bench.window import CLOSED, OPENED, WindowResult
from deploy.local.identity import leashed
from deploy.local.layout import REPOSITORY
from tests.stack import Mesh

END_TIMEOUT_SECONDS = 60.0
REPORT_SECONDS = 1.2
"""Until PostgreSQL's idle processes have reported all their counters."""


class LoadProcess:
    """A module that makes load as `bench.window` describes; it cannot outlive this process."""

    def __init__(self, module: str, orders: object) -> None:
        """`orders` is the dataclass that the module reads."""
        self._module = module
        self._process = subprocess.Popen(
            leashed([sys.executable, "-m", module]),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.write(orjson.dumps(orders) + b"\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, line: str) -> None:
        """Raises BenchFailed when the process ends or says something else."""
        said = self._read_line()
        if said != line:
            raise BenchFailed(f"{self._module} said {said!r} instead of {line!r}.")

    def end(self) -> WindowResult:
        """Tells it to stop, and returns its result."""
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.close()
        result = WindowResult(**orjson.loads(self._read_line()))
        self._process.wait(END_TIMEOUT_SECONDS)
        return result

    def kill(self) -> None:
        """Idempotent; leaves nothing open."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _read_line(self) -> str:
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"{self._module} ended early; what it said stands above.")
        return line.decode().rstrip("\n")


@dataclass(frozen=True, slots=True)
class Meters:
    """What is read before and after a load."""

    mesh: Mesh
    counters: CounterReader


class _Readings:
    """All meters, read one right after the other. Processes have work with showing their
    batches, so that these are read outside of the time in which CPU is measured."""

    def __init__(self, meters: Meters, load_pid: int | None) -> None:
        """`load_pid` is None where what makes the load does not run yet."""
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

    def used_until_now(self) -> Used:
        """Raises BenchFailed when a process of the mesh ended in between."""
        seconds = time.perf_counter() - self._at_seconds
        cpu = used_between(self._first_cpu, self._cpu.read())
        counted = self._meters.counters.read() - self._counted
        batches = read_batches(self._processes)
        return Used(cpu, counted, difference(self._batches, batches), seconds)


def measure(meters: Meters, module: str, orders: object) -> Sample:
    """Runs `module` with its orders to the end. Raises BenchFailed."""
    load = LoadProcess(module, orders)
    try:
        load.wait_for(OPENED)
        readings = _Readings(meters, load.pid)
        load.wait_for(CLOSED)
        used = readings.used_until_now()
        result = load.end()
    finally:
        load.kill()
    rate = result.operation_count / result.duration_seconds
    return sample_of(result, used, operations=rate * used.seconds)


def measure_ghz(meters: Meters, program: str, tokens: Sequence[str], seconds: float) -> Sample:
    """Runs ghz at the first gacha_svc, from its first call to its last. Raises BenchFailed."""
    address = meters.mesh.processes("gacha_svc")[0]["address"]
    time.sleep(REPORT_SECONDS)
    readings = _Readings(meters, None)
    run = run_ghz(program, address, tokens, seconds, meters.mesh.operator_files)
    time.sleep(REPORT_SECONDS)
    used = readings.used_until_now()
    used = dataclasses.replace(used, cpu=used.cpu.with_load(run.cpu_seconds))
    return sample_of(run.result, used, operations=run.result.operation_count)
