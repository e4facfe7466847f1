"""Measures the effect of a flood of logins on pulls, by windows with and without it.

Pulls arrive at a steady rate. The flood is a hundred times the mesh's capacity for logins,
which is measured first. Its generator runs at the lowest priority, because it stands for other
machines and must not take CPU time from the mesh; the share of the flood that it could send is
reported. Every round has a quiet window and a flooded one.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx
import orjson
import psutil

from proof.bench.errors import BenchFailed
from proof.bench.load.load_process import LoadProcess
from proof.bench.load.open_loop import OpenLoopResult, OpenLoopSettings
from proof.bench.load.scenarios import PULLS, Scenario, request_head
from proof.bench.load.window import OPENED
from proof.bench.players.token_pool import PASSWORD, TokenPool
from proof.stack import Mesh

FLOOD = "flood"
TIMES_CAPACITY = 100.0
PULLS_PER_SECOND = 100.0
PULL_CONNECTIONS = 16
FLOOD_CONNECTIONS = 256
CAPACITY_CONNECTIONS = 8
CAPACITY_REQUESTS_PER_SECOND = 400.0
WARM_UP_SECONDS = 2.0
SERVED, REFUSED = 200, 429
OPEN_LOOP = "proof.bench.load.open_loop"


@dataclass(frozen=True, slots=True)
class FloodSample:
    """One round. Rates are per second; `cores` is how many each part used under the flood."""

    quiet: OpenLoopResult
    flooded: OpenLoopResult
    flood: OpenLoopResult
    cores: dict[str, float]

    @property
    def times_quiet(self) -> float:
        return self.flooded.p99_ms / self.quiet.p99_ms if self.quiet.p99_ms else 0.0


@dataclass(frozen=True, slots=True)
class FloodFigures:
    """`capacity` is the number of logins per second in a closed loop."""

    capacity: float
    samples: Sequence[FloodSample]

    def median(self, figure: Callable[[FloodSample], float]) -> float:
        return statistics.median(figure(sample) for sample in self.samples)

    @property
    def error_count(self) -> int:
        """Pulls that were not answered with 200, and logins answered neither that way nor
        refused."""
        return sum(
            _unexpected_count(sample.quiet, SERVED)
            + _unexpected_count(sample.flooded, SERVED)
            + _unexpected_count(sample.flood, SERVED, REFUSED)
            for sample in self.samples
        )


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
        self._tokens = TokenPool(mesh.gateway, mesh.trust)
        for _ in self._tokens.make(PULL_CONNECTIONS):
            pass
        self._pulls = OpenLoopSettings(
            host=gateway.hostname,
            port=gateway.port,
            connection_count=PULL_CONNECTIONS,
            requests_per_second=PULLS_PER_SECOND,
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
        """Yields the figures after each step, the last ones complete. Raises BenchFailed."""
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
        load = LoadProcess(
            OPEN_LOOP,
            replace(
                self._logins,
                connection_count=CAPACITY_CONNECTIONS,
                requests_per_second=CAPACITY_REQUESTS_PER_SECOND,
                is_least_urgent=False,
            ),
        )
        try:
            load.wait_for(OPENED)
            result = _open_loop_result(load)
        finally:
            load.kill()
        served = result.answer_counts.get(SERVED, 0) / result.duration_seconds
        if not served:
            raise BenchFailed(f"No login succeeded: {result.answer_counts}")
        return served

    def _round(self, capacity: float) -> FloodSample:
        quiet = self._measure_pulls()
        flood = LoadProcess(
            OPEN_LOOP,
            replace(
                self._logins,
                connection_count=FLOOD_CONNECTIONS,
                requests_per_second=capacity * self._times,
                window_seconds=self._logins.window_seconds + 2 * WARM_UP_SECONDS,
            ),
        )
        try:
            flood.wait_for(OPENED)
            before = self._cpu_seconds(flood.pid)
            flooded = self._measure_pulls()
            after = self._cpu_seconds(flood.pid)
            seconds = WARM_UP_SECONDS + flooded.duration_seconds
            cores = {part: (after[part] - before[part]) / seconds for part in before}
            return FloodSample(quiet, flooded, _open_loop_result(flood), cores)
        finally:
            flood.kill()

    def _measure_pulls(self) -> OpenLoopResult:
        tokens = self._tokens.tokens(self._pulls.window_seconds)
        heads = [request_head(PULLS, self._netloc, token) for token in tokens]
        load = LoadProcess(OPEN_LOOP, replace(self._pulls, heads=heads))
        try:
            load.wait_for(OPENED)
            return _open_loop_result(load)
        finally:
            load.kill()

    def _cpu_seconds(self, flood_pid: int) -> dict[str, float]:
        """CPU seconds by part; the hashing process is a child of account_svc."""
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


def _open_loop_result(load: LoadProcess) -> OpenLoopResult:
    """Raises BenchFailed."""
    fields = load.result()
    counts = {int(status): count for status, count in fields.pop("answer_counts").items()}
    return OpenLoopResult(answer_counts=counts, **fields)


def _unexpected_count(result: OpenLoopResult, *expected: int) -> int:
    answered = sum(
        count for status, count in result.answer_counts.items() if status not in expected
    )
    return answered + result.lost_count


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
