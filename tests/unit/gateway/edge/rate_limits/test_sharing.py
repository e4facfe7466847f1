"""When counts are exchanged: soon after a change, until all are sent, and never without one."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway_http.edge.rate_limits.counters import Counters, Delta
from gateway_http.edge.rate_limits.policy import Policy
from gateway_http.edge.rate_limits.sharing import EXCHANGE_SECONDS, MAX_DELTAS, Sharing, Total

POLICY = Policy("player", 8, 3600)


class Shared:
    """A cache that fails as often as `failures` says."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.failures = 0

    async def add(self, policy: Policy, deltas: Sequence[Delta]) -> Sequence[Total]:
        if self.failures:
            self.failures -= 1
            raise OSError
        self.keys += [delta.key for delta in deltas]
        return [Total(delta.requests, 0) for delta in deltas]

    async def close(self) -> None:
        pass


class Stage:
    def __init__(self) -> None:
        self.shared = Shared()
        self.counters = Counters(POLICY, lambda: 1_700_000_000.0)
        self.look_count = 0
        self.sharing = Sharing(self.shared, [self.counters], clock=self._clock)

    def _clock(self) -> float:
        self.look_count += 1
        return time.monotonic()

    @asynccontextmanager
    async def exchanging(self) -> AsyncIterator[None]:
        self.sharing.start()
        yield
        await self.sharing.close()

    async def until_shared(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.shared.keys) < count:
                await asyncio.sleep(0.01)


async def test_without_a_change_nothing_is_looked_at() -> None:
    stage = Stage()
    async with stage.exchanging():
        stage.counters.take("a")
        await stage.until_shared(1)
        looked = stage.look_count
        await asyncio.sleep(3 * EXCHANGE_SECONDS)
        assert stage.look_count == looked
        stage.counters.take("b")
        await stage.until_shared(2)
    assert stage.shared.keys == ["a", "b"]


async def test_what_was_counted_before_the_start_is_shared() -> None:
    stage = Stage()
    stage.counters.take("a")
    async with stage.exchanging():
        await stage.until_shared(1)


async def test_what_one_exchange_does_not_hold_goes_into_the_next() -> None:
    stage = Stage()
    async with stage.exchanging():
        for number in range(2 * MAX_DELTAS + 1):
            stage.counters.take(str(number))
        await stage.until_shared(2 * MAX_DELTAS + 1)


async def test_after_a_failed_exchange_the_next_change_is_shared() -> None:
    stage = Stage()
    stage.shared.failures = 1
    async with stage.exchanging():
        stage.counters.take("a")
        async with asyncio.timeout(5):
            while stage.shared.failures:
                await asyncio.sleep(0.01)
        stage.counters.take("b")
        await stage.until_shared(1)
    assert stage.shared.keys == ["b"]
