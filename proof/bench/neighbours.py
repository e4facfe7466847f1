"""Measures what one busy player does to himself and to others.

- A burst: one player sends 200 purchases, 100 keys twice each, 32 at a time.
- A buyer who pulls: one player pulls without a pause over some connections, and buys meanwhile.
- A neighbour: others pull in a closed loop, alone and while one player sends 20 pulls a second that
  the gacha refuses. They are refused because his limit is reached, or they are held back because
  another transaction holds his pity.

It needs a mesh of its own, with a limit on one banner. Every round has each window once.
"""

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2

from proof.bench.errors import BenchFailed
from proof.bench.load.closed_loop import ClosedLoopSettings
from proof.bench.load.load_process import LoadProcess
from proof.bench.load.open_loop import OpenLoopSettings
from proof.bench.load.scenarios import PULLS, Scenario, request_head
from proof.bench.load.window import CLOSED, OPENED, WindowResult, percentile
from proof.bench.players.token_pool import TokenPool
from proof.limited_catalog import LIMITED_BANNER
from proof.load.purchase_burst import Buyer
from proof.stack import Mesh

NEIGHBOURS = "neighbours"
PULL_LIMIT = 10
KEYS, COPIES, AT_ONCE = 100, 2, 32
OTHERS = 16
PULLING_CONNECTIONS = 4
LOUD_CONNECTIONS = 256
LOUD_PULLS_PER_SECOND = 20.0
WARM_UP_SECONDS = 1.5
LIMITED = Scenario(
    "limited pulls",
    "POST /gacha/pull",
    "POST",
    f"/gacha/pull/{LIMITED_BANNER}",
    body=PULLS.body,
    is_keyed=True,
)


@dataclass(frozen=True, slots=True)
class NeighbourSample:
    """One round. Purchases in seconds until their final answer, pulls of others per second."""

    burst_seconds: float
    pending_count: int
    buyer_seconds: Sequence[float]
    quiet: WindowResult
    refused: WindowResult
    held_back: WindowResult

    @property
    def buyer_p99_seconds(self) -> float:
        return percentile(sorted(self.buyer_seconds), 0.99)


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """The rounds so far."""

    samples: Sequence[NeighbourSample]

    def median(self, figure: Callable[[NeighbourSample], float]) -> float:
        return statistics.median(figure(sample) for sample in self.samples)

    @property
    def error_count(self) -> int:
        """Pulls of others that failed."""
        return sum(
            window.error_count
            for sample in self.samples
            for window in (sample.quiet, sample.refused, sample.held_back)
        )


def per_second(window: WindowResult) -> float:
    return window.operation_count / window.duration_seconds


class NeighbourRun:
    """Measures one mesh, whose LIMITED_BANNER has a limit of PULL_LIMIT."""

    def __init__(self, mesh: Mesh, seconds: float, rounds: int) -> None:
        """Registers the players. Raises BenchFailed."""
        self._mesh = mesh
        self._seconds = seconds
        self._rounds = rounds
        gateway = urlsplit(mesh.gateway)
        assert gateway.hostname is not None, "the gateway's URL names its host"
        assert gateway.port is not None, "and its port"
        self._host, self._port, self._netloc = gateway.hostname, gateway.port, gateway.netloc
        self._pool = TokenPool(mesh.gateway, mesh.trust)
        for _ in self._pool.make(OTHERS + 1):
            pass
        loud = self._tokens()[-1:]
        self._pool.post_each(PULLS.path, {"count": 1}, loud)
        self._pool.post_each(LIMITED.path, {"count": PULL_LIMIT}, loud)

    def measure(self) -> Iterator[NeighbourFigures]:
        """Yields the figures after each round. Raises BenchFailed, and NoFinalAnswer for a
        purchase that was refused or lost."""
        samples: list[NeighbourSample] = []
        for _ in range(self._rounds):
            samples.append(self._round())
            yield NeighbourFigures(samples)

    def _round(self) -> NeighbourSample:
        loud = Buyer(self._mesh.gateway, self._mesh.trust, self._tokens()[-1])
        burst = asyncio.run(loud.burst(key_count=KEYS, copies=COPIES, at_once=AT_ONCE))
        refused = self._pulls_of_others(self._loud(LIMITED))
        held_back = self._pulls_of_others(self._loud(PULLS), self._pity_held())
        return NeighbourSample(
            burst_seconds=burst.seconds,
            pending_count=burst.pending_count,
            buyer_seconds=self._pull_and_buy(loud),
            quiet=self._pulls_of_others(),
            refused=refused,
            held_back=held_back,
        )

    def _tokens(self) -> Sequence[str]:
        """The last one is the loud player's."""
        return self._pool.tokens(3 * self._seconds)

    def _closed_loop(self, tokens: Sequence[str], connection_count: int) -> LoadProcess:
        heads = [request_head(PULLS, self._netloc, token) for token in tokens]
        return LoadProcess(
            "proof.bench.load.closed_loop",
            ClosedLoopSettings(
                host=self._host,
                port=self._port,
                connection_count=connection_count,
                warm_up_seconds=WARM_UP_SECONDS,
                window_seconds=self._seconds,
                requests=[(head, PULLS.body) for head in heads],
                is_keyed=True,
                ca_file=self._mesh.ca_file,
            ),
        )

    def _pull_and_buy(self, buyer: Buyer) -> Sequence[float]:
        """The durations of a player's purchases while he pulls without a pause."""
        tokens = [buyer.token] * PULLING_CONNECTIONS
        load = self._closed_loop(tokens, PULLING_CONNECTIONS)
        try:
            load.wait_for(OPENED)
            durations_seconds = asyncio.run(buyer.buy_for(self._seconds))
            load.wait_for(CLOSED)
            load.stop()
            pulls = WindowResult(**load.result())
        finally:
            load.kill()
        if not pulls.operation_count:
            raise BenchFailed(f"The buyer made no pulls: {pulls.first_error}")
        return durations_seconds

    def _pulls_of_others(
        self,
        loud: OpenLoopSettings | None = None,
        beside: AbstractContextManager[None] | None = None,
    ) -> WindowResult:
        """The pulls of the others, with what the loud player does meanwhile."""
        with beside or nullcontext(), self._running(loud):
            load = self._closed_loop(self._tokens()[:OTHERS], OTHERS)
            try:
                load.wait_for(OPENED)
                load.wait_for(CLOSED)
                load.stop()
                return WindowResult(**load.result())
            finally:
                load.kill()

    @contextmanager
    def _running(self, loud: OpenLoopSettings | None) -> Iterator[None]:
        if loud is None:
            yield
            return
        load = LoadProcess("proof.bench.load.open_loop", loud)
        try:
            load.wait_for(OPENED)
            yield
        finally:
            load.kill()

    def _loud(self, scenario: Scenario) -> OpenLoopSettings:
        """The loud player's pulls, which go on until they are killed."""
        return OpenLoopSettings(
            host=self._host,
            port=self._port,
            connection_count=LOUD_CONNECTIONS,
            requests_per_second=LOUD_PULLS_PER_SECOND,
            warm_up_seconds=0.5,
            window_seconds=10 * (self._seconds + WARM_UP_SECONDS),
            heads=[request_head(scenario, self._netloc, self._tokens()[-1])],
            body=scenario.body,
            is_keyed=True,
            drops=True,
            is_least_urgent=False,
            ca_file=self._mesh.ca_file,
        )

    @contextmanager
    def _pity_held(self) -> Iterator[None]:
        """Another transaction holds the loud player's pities."""
        connection = psycopg2.connect(self._mesh.superuser_url("gacha"))
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT FROM pity WHERE user_id = ("
                    "SELECT user_id FROM pull_count WHERE draw_count >= %s LIMIT 1) FOR UPDATE",
                    (PULL_LIMIT,),
                )
                if not cursor.rowcount:
                    raise BenchFailed("The loud player has no pity to hold.")
            yield
        finally:
            connection.close()
