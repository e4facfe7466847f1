"""Counts requests by the client's address, and by the networks around an IPv6 address.

A customer may have a whole IPv6 /48, which has 65,536 networks of the size that counts as one
address. So the /56 and the /48 of an address have quotas of their own, each NETWORK_FACTOR times
that of the next narrower network. A request that a narrow network refuses does not count for the
wider ones, so that one customer cannot use up the quota of its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway_http.edge.rate_limits.counters import Counters, Standing
from gateway_http.edge.rate_limits.policy import Policy
from mesh.addresses import IPV6_SITE_BITS, NETWORK_FACTOR, networks_of


class NetworkCounters:
    """The counters of one policy. For one event loop."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        """`clock` returns seconds since 1970."""
        self.policy = policy
        self.parts: Sequence[Counters] = [
            Counters(replace(policy, quota=policy.quota * NETWORK_FACTOR**number), clock)
            for number in range(len(IPV6_SITE_BITS))
        ]

    def take(self, address: str) -> Standing:
        """Decides on one request from an address, and counts it if it is admitted. The standing
        is that of the network that refuses, or has the fewest requests left."""
        networks = networks_of(address)
        if len(networks) == 1:
            return self.parts[0].take(networks[0])
        standings = []
        for counters, network in zip(self.parts, networks, strict=False):
            standing = counters.take(network)
            if not standing.admitted:
                return standing
            standings.append(standing)
        return min(standings, key=lambda standing: standing.remaining)
