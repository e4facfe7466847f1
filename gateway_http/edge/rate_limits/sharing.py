"""Several gateways as one: each tells a cache what it admitted, and hears of the others.

A few times a second one pipeline takes to the cache what changed, and brings the totals
back; no request waits for that. Between two exchanges a gateway does not know of what the
others admit, so that N gateways together may exceed a quota by what N - 1 of them admit
in `EXCHANGE_SECONDS`, and by an eighth of the quota each while it is below that.

An exchange that fails is not repeated, for it may have had its effect: then too much is
let through rather than too little. A cache that is away or slow is left alone by a
breaker for some seconds, and each gateway limits by what it counted itself.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from gateway_http.edge.rate_limits.counters import Counters, Delta
from gateway_http.edge.rate_limits.policy import Policy
from mesh.calling.breaker import AttemptResult, Breaker, BreakerLimits

EXCHANGE_SECONDS = 0.1
CACHE_TIMEOUT_SECONDS = 1.0
"""No request waits for it; to connect and learn the cluster's slots takes some of it."""
MAX_DELTAS = 128
"""Of a policy in one exchange, at about 14 microseconds each; the rest goes with the next."""
BREAKER = BreakerLimits(
    failures=2, cool_down_seconds=1.0, cool_down_bound_seconds=5.0, silence_seconds=0.0
)

log = structlog.get_logger()


class Total(NamedTuple):
    """What all gateways had in a delta's window, and in the one before where it was asked."""

    total: int
    previous: int


class SharedCounts(Protocol):
    """Where the gateways add up; `gateway_http.edge.rate_limits.cache.CachedCounts` is one."""

    async def add(self, policy: Policy, deltas: Sequence[Delta]) -> Sequence[Total]:
        """Adds each delta and gives its total, in the same order. Raises OSError or
        TimeoutError when that could not be done, and then it may have been done."""
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
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to exchange, in the background."""
        self._task = asyncio.create_task(self._keep_exchanging(), name="limit-sharing")

    async def close(self) -> None:
        """Ends the exchange, and the connections to the cache."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._shared.close()

    async def _keep_exchanging(self) -> None:
        while True:
            await asyncio.sleep(EXCHANGE_SECONDS)
            try:
                await self.exchange()
            except Exception as error:
                log.error("fail_limit_sharing", exc_info=error)

    async def exchange(self) -> None:
        """Tells what changed and takes over the totals, or forgets it all while the cache
        is left alone."""
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
            if not self._breaker.is_open:
                log.warning("miss_limit_cache", error=f"{type(error).__name__}: {error}")
        finally:
            self._breaker.end(serial, result, now, self._clock())
