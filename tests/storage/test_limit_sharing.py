"""Gateways that share counts through a real Valkey in cluster mode."""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy.local.observing import readiness
from deploy.local.servers import valkey
from deploy.local.servers.ports import free_ports
from gateway_http.edge.rate_limits.cache import CachedCounts, CacheFailed
from gateway_http.edge.rate_limits.counters import Counters, Delta
from gateway_http.edge.rate_limits.policy import Policy
from gateway_http.edge.rate_limits.sharing import CACHE_TIMEOUT_SECONDS, EXCHANGE_SECONDS, Sharing

POLICY = Policy("player", 80, 3600)
PATIENCE_SECONDS = 20.0


@dataclass
class Cache:
    """A node that can be killed, frozen and restarted."""

    folder: Path
    port: int
    bus_port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            valkey.command(self.folder, self.port, self.bus_port), stdout=subprocess.DEVNULL
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def until_ready(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await readiness.is_cache_ready(self.port):
                await asyncio.sleep(0.05)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    ports = free_ports(random.Random())
    node = Cache(tmp_path, next(ports), next(ports))
    node.start()
    yield node
    node.kill()


class Gateway:
    """A gateway's counters, and their exchange, which the test triggers."""

    def __init__(self, cache: Cache) -> None:
        self.counters = Counters(POLICY, lambda: 1_700_000_000.0)
        self.counts = CachedCounts([("127.0.0.1", cache.port)])
        self.sharing = Sharing(self.counts, [self.counters])

    async def connect(self) -> None:
        """Connects first, so that no exchange of the test is slow because of it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self.counts.add(POLICY, [Delta("nobody", 1, 1, True)])
                except CacheFailed:
                    await asyncio.sleep(0.05)
                else:
                    return

    def take(self, count: int, key: str = "p") -> int:
        """Sends that many requests; returns how many are admitted."""
        return sum(self.counters.take(key).admitted for _ in range(count))


@pytest.fixture
async def gateways(cache: Cache) -> AsyncIterator[list[Gateway]]:
    await cache.until_ready()
    made = [Gateway(cache) for _ in range(3)]
    for each in made:
        await each.connect()
    yield made
    for each in made:
        await each.sharing.close()


async def test_gateways_keep_one_quota_together(gateways: list[Gateway]) -> None:
    first, second, third = gateways
    assert first.take(50) == 50
    await first.sharing.exchange()
    assert second.take(10) == 10
    await second.sharing.exchange()
    assert second.take(80) == 20
    await second.sharing.exchange()
    # An eighth of the quota is admitted before a gateway shares its counts.
    assert third.take(10) == 10
    await third.sharing.exchange()
    assert third.take(1) == 0
    assert first.take(80) == 30  # it does not have the others' counts yet
    await first.sharing.exchange()
    assert first.take(1) == 0


async def test_under_load_little_more_than_the_quota_is_admitted(gateways: list[Gateway]) -> None:
    for each in gateways:
        each.sharing.start()
    admitted = 0
    for _ in range(60):
        admitted += sum(each.take(1) for each in gateways)
        await asyncio.sleep(EXCHANGE_SECONDS / 2)
    overshoot = 3 * 10 + 2 * 3
    assert POLICY.quota <= admitted <= POLICY.quota + overshoot


async def test_stored_counts_expire(cache: Cache, gateways: list[Gateway]) -> None:
    (total,) = await gateways[0].counts.add(POLICY, [Delta("k", 7, 3, True)])
    assert total == (3, 0)
    (total,) = await gateways[0].counts.add(POLICY, [Delta("k", 8, 2, True)])
    assert total == (2, 3)
    async with Redis(port=cache.port) as reader:
        assert 2 * 3600 < await reader.ttl("limit:player:k:8") <= 3 * 3600


async def test_a_dead_cache_costs_nothing_and_is_used_again_when_it_is_back(
    cache: Cache, gateways: list[Gateway]
) -> None:
    first, second, _ = gateways
    first.take(10)
    await first.sharing.exchange()
    cache.kill()
    with pytest.raises(CacheFailed):
        await first.counts.add(POLICY, [Delta("q", 1, 1, True)])
    for _ in range(5):
        assert first.take(5) == 5
        began = time.monotonic()
        await first.sharing.exchange()
        assert time.monotonic() - began < 2 * CACHE_TIMEOUT_SECONDS + 1
    cache.start()
    await cache.until_ready()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while second.counters.take("p").remaining > 40:
            first.take(1)
            await first.sharing.exchange()
            await second.sharing.exchange()
            await asyncio.sleep(0.05)


async def test_a_frozen_cache_delays_no_request(cache: Cache, gateways: list[Gateway]) -> None:
    first = gateways[0]
    first.take(10)
    await first.sharing.exchange()
    cache.signal(signal.SIGSTOP)
    try:
        first.sharing.start()
        slowest = 0.0
        for _ in range(200):
            began = time.monotonic()
            first.take(1, "q")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)
        assert slowest < 0.1
    finally:
        cache.signal(signal.SIGCONT)
