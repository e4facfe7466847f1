"""Carries out a plan on one mesh."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from deploy.local.topology import DATABASES
from proof.bench.figures import Point, Sample, Series
from proof.bench.load.closed_loop import ClosedLoopSettings
from proof.bench.load.ghz import find_ghz
from proof.bench.load.plain_commits import PlainCommitSettings, commit_tables
from proof.bench.load.scenarios import GIFTS, PULLS, PURCHASES, Scenario, request_head
from proof.bench.measure import Meters, measure, measure_at_rest, measure_ghz
from proof.bench.meters.idle import IdleSample
from proof.bench.meters.machine_speed import MachineSpeed, measure_speed
from proof.bench.plan import (
    COMMITS,
    GHZ,
    IDLE,
    IDLE_CONNECTIONS,
    MOST_COMMIT_CLIENTS,
    QUIET_SECONDS,
    SCENARIOS,
    WARM_UP_SECONDS,
    Plan,
)
from proof.bench.players.gift_pairs import gift_requests
from proof.bench.players.token_pool import TokenPool

_OPERATIONS: Mapping[str, str] = {
    PULLS.name: "pull",
    PURCHASES.name: "purchase",
    GIFTS.name: "gift",
}


@dataclass(frozen=True, slots=True)
class _Load:
    """A kind of load, and how one sample of it over so many is taken."""

    title: str
    operation: str
    clients: str
    measure: Callable[[int], Sample]


class Run:
    """Takes the samples of a plan. Every round has each point once, so that other work of the
    machine in some minutes spoils one sample of each point and not all samples of one."""

    def __init__(self, plan: Plan, meters: Meters, pool: TokenPool) -> None:
        """`plan` has ghz only where it is installed."""
        self.plan = plan
        self._meters = meters
        self._pool = pool
        self._loads = {kind: self._load_of(kind) for kind in plan.kinds if kind != IDLE}
        self._samples: dict[tuple[str, int], list[Sample]] = {}
        self.idle: list[IdleSample] = []
        """The windows without load."""
        self.speeds: list[MachineSpeed] = []
        """The machine's speed at the beginning of every round."""

    def samples(self) -> Iterator[str]:
        """Takes one sample after the other; reports each before it starts."""
        with self.tables():
            for number in range(1, self.plan.round_count + 1):
                self.note_speed()
                for kind, count in self.plan.points:
                    yield f"round {number} of {self.plan.round_count}: {self.title(kind, count)}"
                    self.take(kind, count)

    def tables(self) -> AbstractContextManager[None]:
        """The tables that plain commits need, for as long as samples are taken."""
        return commit_tables(self._database_urls(), MOST_COMMIT_CLIENTS)

    def note_speed(self) -> None:
        """Measures the machine's speed. Call it at the beginning of every round."""
        self.speeds.append(measure_speed())

    def title(self, kind: str, count: int) -> str:
        """What `take` measures, in words."""
        if kind == IDLE:
            return "the mesh without load"
        load = self._loads[kind]
        return f"{load.title} ({load.clients}: {count})"

    def take(self, kind: str, count: int) -> None:
        """Takes one sample of that point. Raises BenchFailed."""
        if kind == IDLE:
            self.idle.append(self._at_rest())
            return
        self._samples.setdefault((kind, count), []).append(self._loads[kind].measure(count))

    def series(self) -> list[Series]:
        """What was measured so far, in the order of the plan."""
        return [
            Series(
                kind,
                load.title,
                load.operation,
                load.clients,
                [Point(n, samples) for (of, n), samples in self._samples.items() if of == kind],
            )
            for kind, load in self._loads.items()
        ]

    def _load_of(self, kind: str) -> _Load:
        if kind == COMMITS:
            return _Load("two plain local commits", "pair", "clients", self._plain_commits)
        if kind == GHZ:
            program = find_ghz()
            assert program is not None, "the plan has ghz only where it is installed"
            return _Load(
                "pulls by ghz at one gacha_svc", "pull", "workers", partial(self._ghz, program)
            )
        scenario = SCENARIOS[kind]
        operation = _OPERATIONS.get(kind, "request")
        ask = partial(self._requests, scenario)
        return _Load(f"{scenario.title} through REST", operation, "connections", ask)

    def _database_urls(self) -> list[str]:
        return [self._meters.mesh.superuser_url(database) for database in DATABASES.values()]

    def _requests(self, scenario: Scenario, connection_count: int) -> Sample:
        gateway = urlsplit(self._meters.mesh.gateway)
        window_seconds = self.plan.window_seconds_of(scenario.name)
        tokens = self._pool.tokens(window_seconds)
        if scenario is GIFTS:
            requests = gift_requests(self._pool, gateway.netloc, tokens[: 2 * connection_count])
        else:
            heads = [request_head(scenario, gateway.netloc, token) for token in tokens]
            requests = [(head, scenario.body) for head in heads]
        assert gateway.hostname is not None, "the gateway's URL names its host"
        assert gateway.port is not None, "and its port"
        settings = ClosedLoopSettings(
            host=gateway.hostname,
            port=gateway.port,
            connection_count=connection_count,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=window_seconds,
            requests=requests,
            is_keyed=scenario.is_keyed,
            expected=scenario.expected,
            ca_file=self._meters.mesh.ca_file,
        )
        return measure(self._meters, "proof.bench.load.closed_loop", settings)

    def _at_rest(self) -> IdleSample:
        self._requests(PULLS, min(IDLE_CONNECTIONS, self.plan.player_count))
        window_seconds = self.plan.window_seconds_of(IDLE)
        return measure_at_rest(self._meters, QUIET_SECONDS, window_seconds)

    def _plain_commits(self, client_count: int) -> Sample:
        settings = PlainCommitSettings(
            urls=self._database_urls(),
            client_count=client_count,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=self.plan.window_seconds_of(COMMITS),
        )
        return measure(self._meters, "proof.bench.load.plain_commits", settings)

    def _ghz(self, program: str, worker_count: int) -> Sample:
        seconds = self.plan.window_seconds_of(GHZ)
        tokens = self._pool.tokens(seconds)
        return measure_ghz(self._meters, program, tokens[:worker_count], seconds)
