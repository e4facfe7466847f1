"""One measurement: runs a process that makes load, and reads what its window cost."""

import subprocess
import sys
import time

import orjson

from bench.counters import CounterReader
from bench.cpu import CpuMeter, CpuReading, used_between
from bench.errors import BenchFailed
from bench.figures import Sample, sample_of
from bench.target import runner_pid
from bench.window import CLOSED, OPENED, WindowResult
from deploy.local.identity import leashed
from deploy.local.layout import REPOSITORY
from tests.stack import Mesh

END_TIMEOUT_SECONDS = 60.0


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


def measure(mesh: Mesh, counters: CounterReader, module: str, orders: object) -> Sample:
    """Runs `module` with its orders to the end. Raises BenchFailed."""
    load = LoadProcess(module, orders)
    try:
        meter = CpuMeter(
            lambda: mesh.read()["processes"], runner_pid=runner_pid(mesh), load_pid=load.pid
        )
        load.wait_for(OPENED)
        first = _Readings(meter, counters)
        load.wait_for(CLOSED)
        last = _Readings(meter, counters)
        result = load.end()
    finally:
        load.kill()
    return sample_of(
        result,
        used_between(first.cpu, last.cpu),
        last.counted - first.counted,
        last.at_seconds - first.at_seconds,
    )


class _Readings:
    """All meters, read one right after the other."""

    def __init__(self, meter: CpuMeter, counters: CounterReader) -> None:
        self.at_seconds = time.perf_counter()
        self.cpu: CpuReading = meter.read()
        self.counted = counters.read()
