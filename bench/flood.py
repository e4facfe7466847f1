"""What a flood of logins does to pulls: the same pulls, without it and under it, in turn.

Pulls come at a steady rate. The flood is a hundred times what the mesh can log in,
which is measured first. Its generator runs at the lowest priority, for it stands for
other machines and must not take what is being measured; how much of the flood it got
to send is told. Every round has a quiet window and a flooded one.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from bench.errors import BenchFailed
from bench.paced import PacedOrders, PacedResult
from bench.players import PASSWORD, Players
from bench.scenarios import PULLS, Scenario, request_head
from bench.window import OPENED
from deploy.local.identity import leashed
from deploy.local.layout import REPOSITORY
from tests.stack import Mesh

FLOOD = "flood"
TIMES_CAPACITY = 100.0
PULLS_A_SECOND = 100.0
PULL_CONNECTIONS = 16
FLOOD_CONNECTIONS = 256
CAPACITY_CONNECTIONS = 8
CAPACITY_A_SECOND = 400.0
WARM_UP_SECONDS = 2.0
SERVED, REFUSED = 200, 429


@dataclass(frozen=True, slots=True)
class FloodSample:
    """One round. Rates are a second; `cores` is how many each part kept busy under the flood."""

    quiet: PacedResult
    flooded: PacedResult
    flood: PacedResult
    cores: dict[str, float]

    @property
    def times_quiet(self) -> float:
        return self.flooded.p99_ms / self.quiet.p99_ms if self.quiet.p99_ms else 0.0


@dataclass(frozen=True, slots=True)
class FloodFigures:
    """`capacity` is the logins a second that were served to callers who wait their turn."""

    capacity: float
    samples: Sequence[FloodSample]

    def median(self, figure: Callable[[FloodSample], float]) -> float:
        return statistics.median(figure(sample) for sample in self.samples)

    @property
    def error_count(self) -> int:
        """Pulls that were not answered with 200, and logins answered neither that way nor
        refused."""
        return sum(
            _others(sample.quiet, SERVED)
            + _others(sample.flooded, SERVED)
            + _others(sample.flood, SERVED, REFUSED)
            for sample in self.samples
        )


class _Load:
    """A running `bench.paced`; it cannot outlive this process."""

    def __init__(self, orders: PacedOrders) -> None:
        self._process = subprocess.Popen(
            leashed([sys.executable, "-m", "bench.paced"]),
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

    def wait_until_opened(self) -> None:
        """Raises BenchFailed."""
        if self._line() != OPENED:
            raise BenchFailed("The load generator did not begin; what it said stands above.")

    def result(self) -> PacedResult:
        """When it has ended. Raises BenchFailed."""
        fields: dict[str, Any] = orjson.loads(self._line())
        counts = {int(status): count for status, count in fields.pop("answer_counts").items()}
        self._process.wait()
        return PacedResult(answer_counts=counts, **fields)

    def close(self) -> None:
        """Idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed("The load generator ended early; what it said stands above.")
        return line.decode().rstrip("\n")


class FloodRun:
    """Measures one mesh."""

    def __init__(self, mesh: Mesh, seconds: float, rounds: int, times: float) -> None:
        self._mesh = mesh
        self._rounds = rounds
        self._times = times
        gateway = urlsplit(mesh.gateway)
        assert gateway.hostname is not None, "the gateway's URL names its host"
        assert gateway.port is not None, "and its port"
        self._netloc = gateway.netloc
        self._players = Players(mesh.gateway, mesh.trust)
        for _ in self._players.make(PULL_CONNECTIONS):
            pass
        self._pulls = PacedOrders(
            host=gateway.hostname,
            port=gateway.port,
            connection_count=PULL_CONNECTIONS,
            a_second=PULLS_A_SECOND,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=seconds,
            heads=[],
            body=PULLS.body,
            is_keyed=True,
            drops=False,
            is_least_urgent=False,
            ca_file=mesh.ca_file,
        )
        login = Scenario(FLOOD, "POST /login", "POST", "/login", body=self._credentials())
        self._logins = replace(
            self._pulls,
            heads=[request_head(login, gateway.netloc, "none")],
            body=login.body,
            is_keyed=False,
            drops=True,
            is_least_urgent=True,
        )

    def measure(self) -> Iterator[FloodFigures]:
        """What is known after each step, the last time all of it. Raises BenchFailed."""
        capacity = self._capacity()
        yield FloodFigures(capacity, ())
        samples: list[FloodSample] = []
        for _ in range(self._rounds):
            samples.append(self._round(capacity))
            yield FloodFigures(capacity, samples)

    def _credentials(self) -> str:
        name = "bench-flood"
        credentials = {"username": name, "password": PASSWORD}
        with httpx.Client(
            base_url=self._mesh.gateway,
            timeout=30.0,
            trust_env=False,
            verify=self._mesh.trust or True,
        ) as client:
            answer = client.post("/register", json=credentials | {"email": f"{name}@example.com"})
        if answer.status_code not in (httpx.codes.OK, httpx.codes.CONFLICT):
            raise BenchFailed(f"POST /register was answered {answer.status_code}: {answer.text}")
        return orjson.dumps(credentials).decode()

    def _capacity(self) -> float:
        load = _Load(
            replace(
                self._logins,
                connection_count=CAPACITY_CONNECTIONS,
                a_second=CAPACITY_A_SECOND,
                is_least_urgent=False,
            )
        )
        try:
            load.wait_until_opened()
            result = load.result()
        finally:
            load.close()
        served = result.answer_counts.get(SERVED, 0) / result.duration_seconds
        if not served:
            raise BenchFailed(f"Nobody could log in: {result.answer_counts}")
        return served

    def _round(self, capacity: float) -> FloodSample:
        quiet = self._measure_pulls()
        flood = _Load(
            replace(
                self._logins,
                connection_count=FLOOD_CONNECTIONS,
                a_second=capacity * self._times,
                window_seconds=self._logins.window_seconds + 2 * WARM_UP_SECONDS,
            )
        )
        try:
            flood.wait_until_opened()
            before = self._cpu_seconds(flood.pid)
            flooded = self._measure_pulls()
            after = self._cpu_seconds(flood.pid)
            seconds = WARM_UP_SECONDS + flooded.duration_seconds
            cores = {part: (after[part] - before[part]) / seconds for part in before}
            return FloodSample(quiet, flooded, flood.result(), cores)
        finally:
            flood.close()

    def _measure_pulls(self) -> PacedResult:
        tokens = self._players.tokens(self._pulls.window_seconds)
        heads = [request_head(PULLS, self._netloc, token) for token in tokens]
        load = _Load(replace(self._pulls, heads=heads))
        try:
            load.wait_until_opened()
            return load.result()
        finally:
            load.close()

    def _cpu_seconds(self, flood_pid: int) -> dict[str, float]:
        """By part; what hashes is a child of account_svc."""
        seconds = {"load generator of the flood": _own_seconds(psutil.Process(flood_pid))}
        for process in self._mesh.read()["processes"]:
            if process["pid"] is None:
                raise BenchFailed(f"{process['name']} is not running.")
            parent = psutil.Process(process["pid"])
            role = process["role"]
            seconds[role] = seconds.get(role, 0.0) + _own_seconds(parent)
            children = "hashing" if role == "account_svc" else role
            for child in parent.children():
                seconds[children] = seconds.get(children, 0.0) + _own_seconds(child)
        return seconds


def show(console: Console, figures: FloodFigures) -> None:
    """The tables of a whole run."""
    console.print(
        f"Logins that were served to callers who wait their turn: {figures.capacity:.0f} a second."
    )
    table = Table(title=f"{PULLS_A_SECOND:.0f} pulls a second, quiet and under a flood of logins")
    for heading in (
        "round",
        "quiet p50 ms",
        "quiet p99 ms",
        "flooded p50 ms",
        "flooded p99 ms",
        "p99, times quiet",
        "logins sent/s",
        "served/s",
        "refused/s",
        "other",
    ):
        table.add_column(heading, justify="right")
    for number, sample in enumerate(figures.samples, 1):
        flood = sample.flood
        seconds = flood.duration_seconds
        sent_count = flood.offered_count - flood.unsent_count
        table.add_row(
            str(number),
            f"{sample.quiet.p50_ms:.2f}",
            f"{sample.quiet.p99_ms:.2f}",
            f"{sample.flooded.p50_ms:.2f}",
            f"{sample.flooded.p99_ms:.2f}",
            f"{sample.times_quiet:.2f}",
            f"{sent_count / seconds:.0f}",
            f"{flood.answer_counts.get(SERVED, 0) / seconds:.1f}",
            f"{flood.answer_counts.get(REFUSED, 0) / seconds:.0f}",
            _in_words(flood, SERVED, REFUSED),
        )
    console.print(table)
    cores = Table(title="Cores kept busy under the flood, median of the rounds")
    cores.add_column("part")
    cores.add_column("cores", justify="right")
    for part in figures.samples[0].cores:
        cores.add_row(part, f"{figures.median(partial(_cores_of, part)):.2f}")
    console.print(cores)
    console.print(
        f"Pulls' p99 under the flood, as a multiple of the quiet one: "
        f"{figures.median(lambda sample: sample.times_quiet):.2f} (median); wanted: at most 2."
    )


def _cores_of(part: str, sample: FloodSample) -> float:
    return sample.cores.get(part, 0.0)


def _others(result: PacedResult, *expected: int) -> int:
    answered = sum(
        count for status, count in result.answer_counts.items() if status not in expected
    )
    return answered + result.lost_count


def _in_words(result: PacedResult, *expected: int) -> str:
    """How often each other status came, and how often none."""
    counts = {str(s): n for s, n in sorted(result.answer_counts.items()) if s not in expected}
    counts |= {"lost": result.lost_count} if result.lost_count else {}
    return ", ".join(f"{count} of {status}" for status, count in counts.items()) or "none"


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
