"""Shares the counts of admitted requests among several gateways, by a cache.

A tenth of a second after a change one pipeline adds the new counts to the cache and reads the
totals; no request waits for it. Without a change nothing is exchanged. Between two exchanges a
gateway does not know what the others admit. So N gateways together may exceed a quota by what
N - 1 of them admit in `EXCHANGE_SECONDS`, and by an eighth of the quota each while a key is below
that.

A failed exchange is not repeated, because it may have taken effect: the gateways then admit
too many requests rather than too few. If the cache is down or slow, a breaker skips it for
some seconds, and each gateway limits by its own counts.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from gateway_http.edge.rate_limits.counters import Counters, Delta
from gateway_http.edge.rate_limits.policy import Policy
from mesh.background import BackgroundTask
from mesh.calling.breaker import AttemptResult, Breaker, BreakerLimits

EXCHANGE_SECONDS = 0.1
CACHE_TIMEOUT_SECONDS = 1.0
"""No request waits for it. It includes connecting and reading the cluster's slots."""
MAX_DELTAS = 128
"""Deltas of a policy in one exchange, about 14 microseconds each; the next takes the rest."""
BREAKER = BreakerLimits(
    failures=2, cool_down_seconds=1.0, cool_down_bound_seconds=5.0, silence_seconds=0.0
)

log = structlog.get_logger()


class Total(NamedTuple):
    """Requests of all gateways in a delta's window, and in the previous one if requested."""

    total: int
    previous: int


class SharedCounts(Protocol):
    """Counters shared by all gateways; see `gateway_http.edge.rate_limits.cache.CachedCounts`."""

    async def add(self, policy: Policy, deltas: Sequence[Delta]) -> Sequence[Total]:
        """Adds each delta, and returns the totals in the same order. Raises OSError or
        TimeoutError; the deltas may have been added even then."""
        ...

    async def close(self) -> None: ...


class Sharing:
    """Exchanges the counts of some counters until it is closed."""

    def __init__(
        self,
        shared: SharedCounts,
        counters: Sequence[Counters],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._counters = counters
        self._clock = clock
        self._breaker = Breaker(BREAKER)
        self._changed = asyncio.Event()
        self._task: BackgroundTask | None = None

    def start(self) -> None:
        """Starts to exchange counts in the background, whenever there are new ones."""
        for counters in self._counters:
            counters.on_outgoing(self._changed.set)
        self._task = BackgroundTask(self._keep_exchanging(), "limit-sharing")

    async def close(self) -> None:
        """Stops the exchange, and closes the connections to the cache."""
        if self._task is not None:
            await self._task.end()
        await self._shared.close()

    async def _keep_exchanging(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(EXCHANGE_SECONDS)
            # Cleared before the exchange: a change during it sets it again.
            self._changed.clear()
            try:
                await self.exchange()
            except Exception as error:
                log.error("fail_limit_sharing", exc_info=error)
            if any(counters.has_outgoing for counters in self._counters):
                self._changed.set()

    async def exchange(self) -> None:
        """Sends the new counts and stores the totals, or drops the new counts while the breaker
        is open."""
        now = self._clock()
        if not self._breaker.admits(now):
            for counters in self._counters:
                counters.forget_outgoing()
            return
        outgoing = [(counters, counters.outgoing(MAX_DELTAS)) for counters in self._counters]
        outgoing = [(counters, deltas) for counters, deltas in outgoing if deltas]
        if not outgoing:
            return
        serial = self._breaker.begin()
        result = AttemptResult.BROKE
        try:
            async with asyncio.timeout(CACHE_TIMEOUT_SECONDS):
                for counters, deltas in outgoing:
                    totals = await self._shared.add(counters.policy, deltas)
                    for delta, total in zip(deltas, totals, strict=True):
                        counters.learn(delta.key, delta.window, total.total, total.previous)
            result = AttemptResult.ANSWERED
        except (OSError, TimeoutError) as error:
            if not self._breaker.is_tripped:
                log.warning("miss_limit_cache", error=f"{type(error).__name__}: {error}")
        finally:
            self._breaker.end(serial, result, now, self._clock())
