"""Counts of all gateways in Valkey or Redis, in cluster mode.

Each window of a key is one counter, which expires by itself. The whole name determines its
hash slot, so the keys spread over all nodes. The client needs one node to find the others, and
follows moved slots and failovers.
"""

from collections.abc import Sequence

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from gateway_http.edge.rate_limits.counters import Delta
from gateway_http.edge.rate_limits.policy import Policy
from gateway_http.edge.rate_limits.sharing import Total

SOCKET_TIMEOUT_SECONDS = 0.5
MAX_CONNECTIONS = 8
"""Per node. An exchange uses one, and exchanges never overlap."""


class CacheFailed(OSError):
    """A request to the cache failed."""


class CachedCounts:
    """A `gateway_http.edge.rate_limits.sharing.SharedCounts`."""

    def __init__(self, nodes: Sequence[tuple[str, int]]) -> None:
        """`nodes` are some nodes of the cluster. Does not connect yet."""
        self._cluster: RedisCluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes],
            # A dead node must not fail requests for slots on other nodes.
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
            max_connections=MAX_CONNECTIONS,
        )

    async def add(self, policy: Policy, deltas: Sequence[Delta]) -> Sequence[Total]:
        """Raises CacheFailed; some of the deltas may have been added then."""
        pipeline = self._cluster.pipeline()
        for key, window, requests, is_first in deltas:
            name = f"limit:{policy.name}:{key}:"
            pipeline.incrby(f"{name}{window}", requests)
            if is_first:
                # A window counts until the end of the next one; the rest allows for clock skew.
                pipeline.expire(f"{name}{window}", 3 * policy.window_seconds)
                pipeline.get(f"{name}{window - 1}")
        try:
            answers = iter(await pipeline.execute())
        except (RedisError, RedisClusterException) as error:
            raise CacheFailed(str(error)) from error
        totals = []
        for delta in deltas:
            total, previous = int(next(answers)), 0
            if delta.is_first:
                next(answers)
                previous = int(next(answers) or 0)
            totals.append(Total(total, previous))
        return totals

    async def close(self) -> None:
        await self._cluster.aclose()
