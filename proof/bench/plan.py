"""A whole run: its points, their number of samples, and their order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from deploy.local.topology import DATABASES
from proof.bench.figures import Point, Sample, Series
from proof.bench.gift_pairs import gift_requests
from proof.bench.load.closed_loop import ClosedLoopSettings
from proof.bench.load.ghz import find_ghz
from proof.bench.load.plain_commits import PlainCommitSettings, commit_tables
from proof.bench.load.scenarios import (
    CURRENCY,
    GIFTS,
    ITEMS,
    PULLS,
    PURCHASES,
    Scenario,
    request_head,
)
from proof.bench.measure import Meters, measure, measure_ghz
from proof.bench.meters.machine_speed import MachineSpeed, measure_speed
from proof.bench.token_pool import TokenPool

WARM_UP_SECONDS = 1.5
"""Longer than PostgreSQL's processes take to report their counters."""
OVERHEAD_SECONDS = 0.5
"""The time to start and end the load generators."""
PLAIN_COMMIT_CLIENTS = (1, 16)
COMMITS = "commits"
GHZ = "ghz"
SCENARIOS = {scenario.name: scenario for scenario in (PULLS, PURCHASES, GIFTS, ITEMS, CURRENCY)}
KINDS = (COMMITS, *SCENARIOS, GHZ)
"""The kinds of load, in the order of a round."""
MOST_GIFT_CONNECTIONS = 64
"""Gifts need two players for each connection, and a new player costs two password hashes."""


_OPERATIONS: Mapping[str, str] = {
    PULLS.name: "pull",
    PURCHASES.name: "purchase",
    GIFTS.name: "gift",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`window_seconds` is per point and round, half of it for reads and ghz; load runs a little
    longer. `kinds` is a subset of KINDS."""

    connection_counts: Sequence[int]
    window_seconds: float
    round_count: int
    player_count: int
    kinds: Sequence[str] = KINDS

    def window_seconds_of(self, kind: str) -> float:
        is_main = kind in (COMMITS, PULLS.name)
        return self.window_seconds if is_main else self.window_seconds / 2

    def counts_of(self, kind: str) -> Sequence[int]:
        """The numbers of connections, clients or workers for a kind of load."""
        if kind == GIFTS.name:
            return [count for count in self.connection_counts if 2 * count <= self.player_count]
        return PLAIN_COMMIT_CLIENTS if kind == COMMITS else self.connection_counts

    @property
    def points(self) -> Sequence[tuple[str, int]]:
        """The points of a round, in order."""
        return [(kind, count) for kind in self.kinds for count in self.counts_of(kind)]

    @property
    def sample_count(self) -> int:
        """Every round has one sample of each point."""
        return self.round_count * len(self.points)

    @property
    def duration_seconds(self) -> float:
        """The approximate duration of all measurements."""
        windows = sum(self.window_seconds_of(kind) for kind, _ in self.points)
        around = len(self.points) * (WARM_UP_SECONDS + OVERHEAD_SECONDS)
        return self.round_count * (windows + around)


@dataclass(frozen=True, slots=True)
class _Load:
    """A kind of load, and how one sample of it over so many is taken."""

    title: str
    operation: str
    clients: str
    measure: Callable[[int], Sample]


class Run:
    """Carries out a plan. Every round has each point once, so that other work of the machine in
    some minutes spoils one sample of each point and not all samples of one."""

    def __init__(self, plan: Plan, meters: Meters, pool: TokenPool) -> None:
        """`plan` has ghz only where it is installed."""
        self._plan = plan
        self._meters = meters
        self._pool = pool
        self._loads = {kind: self._load_of(kind) for kind in plan.kinds}
        self._samples: dict[tuple[str, int], list[Sample]] = {}
        self.speeds: list[MachineSpeed] = []
        """The machine's speed at the beginning of every round."""

    def samples(self) -> Iterator[str]:
        """Takes one sample after the other; reports each before it starts."""
        with commit_tables(self._database_urls(), max(PLAIN_COMMIT_CLIENTS)):
            for number in range(1, self._plan.round_count + 1):
                self.speeds.append(measure_speed())
                for kind, count in self._plan.points:
                    load = self._loads[kind]
                    yield (
                        f"round {number} of {self._plan.round_count}: "
                        f"{load.title} ({load.clients}: {count})"
                    )
                    self._samples.setdefault((kind, count), []).append(load.measure(count))

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
        window_seconds = self._plan.window_seconds_of(scenario.name)
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

    def _plain_commits(self, client_count: int) -> Sample:
        settings = PlainCommitSettings(
            urls=self._database_urls(),
            client_count=client_count,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=self._plan.window_seconds_of(COMMITS),
        )
        return measure(self._meters, "proof.bench.load.plain_commits", settings)

    def _ghz(self, program: str, worker_count: int) -> Sample:
        seconds = self._plan.window_seconds_of(GHZ)
        tokens = self._pool.tokens(seconds)
        return measure_ghz(self._meters, program, tokens[:worker_count], seconds)
