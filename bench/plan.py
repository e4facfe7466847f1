"""A whole run: which points, how often, in which order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from bench.baseline import BaselineOrders, commit_tables
from bench.counters import CounterReader
from bench.figures import Point, Sample
from bench.load import LoadOrders
from bench.measure import measure
from bench.scenarios import SINGLE_PULL, Scenario, request_head
from bench.yardstick import Speed, measure_speed
from tests.stack import Mesh

WARM_UP_SECONDS = 1.5
"""Longer than PostgreSQL's processes take to report their counters."""

PLAIN_COMMIT_CLIENTS = (1, 16)
PLAIN_COMMITS = "two plain commits"


@dataclass(frozen=True, slots=True)
class Plan:
    """`window_seconds` is for each point and round; its load runs a little longer."""

    connection_counts: Sequence[int]
    window_seconds: float
    round_count: int
    player_count: int

    @property
    def sample_count(self) -> int:
        """Every round has one sample of each point."""
        return self.round_count * (len(self.connection_counts) + len(PLAIN_COMMIT_CLIENTS))

    @property
    def duration_seconds(self) -> float:
        """About how long the load runs in all."""
        return self.sample_count * (self.window_seconds + WARM_UP_SECONDS)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    connection_count: int
    measure: Callable[[], Sample]


class Run:
    """Carries out a plan. Every round has each point once, so that whatever else the
    machine does in these minutes spoils one sample of each rather than all of one."""

    def __init__(
        self, plan: Plan, mesh: Mesh, counters: CounterReader, tokens: Sequence[str]
    ) -> None:
        self._plan = plan
        self._mesh = mesh
        self._counters = counters
        self._tokens = tokens
        self._samples: dict[tuple[str, int], list[Sample]] = {}
        self.speeds: list[Speed] = []
        """Of the machine, at the beginning of every round."""

    def samples(self) -> Iterator[str]:
        """Takes one sample after the other; says which before each."""
        kinds = [
            *(self._plain_commits(count) for count in PLAIN_COMMIT_CLIENTS),
            *(self._requests(SINGLE_PULL, count) for count in self._plan.connection_counts),
        ]
        urls = list(self._mesh.read()["databases"].values())
        with commit_tables(urls, max(PLAIN_COMMIT_CLIENTS)):
            for number in range(1, self._plan.round_count + 1):
                self.speeds.append(measure_speed())
                for kind in kinds:
                    yield f"round {number}: {kind.name} over {kind.connection_count}"
                    samples = self._samples.setdefault((kind.name, kind.connection_count), [])
                    samples.append(kind.measure())

    def points(self, name: str) -> list[Point]:
        """What was measured so far of one kind of load, in the order of the plan."""
        return [
            Point(name, count, samples)
            for (of, count), samples in self._samples.items()
            if of == name
        ]

    def _requests(self, scenario: Scenario, connection_count: int) -> _Kind:
        gateway = urlsplit(self._mesh.gateway)
        assert gateway.hostname is not None, "the gateway's URL names its host"
        assert gateway.port is not None, "and its port"
        orders = LoadOrders(
            host=gateway.hostname,
            port=gateway.port,
            connection_count=connection_count,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=self._plan.window_seconds,
            heads=[request_head(scenario, gateway.netloc, token) for token in self._tokens],
            body=scenario.body,
            is_keyed=scenario.is_keyed,
        )
        return _Kind(
            scenario.name,
            connection_count,
            partial(measure, self._mesh, self._counters, "bench.load", orders),
        )

    def _plain_commits(self, client_count: int) -> _Kind:
        orders = BaselineOrders(
            urls=list(self._mesh.read()["databases"].values()),
            client_count=client_count,
            warm_up_seconds=WARM_UP_SECONDS,
            window_seconds=self._plan.window_seconds,
        )
        return _Kind(
            PLAIN_COMMITS,
            client_count,
            partial(measure, self._mesh, self._counters, "bench.baseline", orders),
        )
