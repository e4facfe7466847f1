"""Finds the client's address behind proxies, from the trusted part of X-Forwarded-For.

Each proxy appends the address of its peer. So the list is read from its end, and an entry is
true if a trusted proxy wrote it. The client is the last address that is not a trusted proxy's;
the client can forge every entry before it. Without trusted proxies the header is ignored.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gateway_http.exchange import Headers
from mesh.addresses import REMEMBERED_ADDRESSES, canonical, networks_of

Network = IPv4Network | IPv6Network
MAX_HOPS = 32
UNKNOWN = "unknown"
FORWARDED_FOR = "x-forwarded-for"


class ClientAddresses:
    """Finds the client's address. Pure."""

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(REMEMBERED_ADDRESSES)(self._trusts)

    def of(self, peer: str, headers: Headers) -> str:
        """The client's IPv4 or IPv6 address without a port. `peer` is the connection's other
        end as host:port or [host]:port. Returns UNKNOWN when `peer` has neither form."""
        address = canonical(peer.rpartition(":")[0].strip("[]"))
        if address is None:
            return UNKNOWN
        if not self._trusted or FORWARDED_FOR not in headers or not self._is_trusted(address):
            return address
        for hop in _hops(headers):
            forwarded = canonical(hop)
            if forwarded is None:
                break
            address = forwarded
            if not self._is_trusted(address):
                break
        return address

    def sites_of(self, peer: str, headers: Headers) -> tuple[str, ...]:
        """What a connection counts for: the client's networks, as `mesh.addresses.networks_of`
        has them. None of them while only trusted proxies are known, which carry many clients."""
        address = self.of(peer, headers)
        is_nobody = address == UNKNOWN or self._is_trusted(address)
        return () if is_nobody else networks_of(address)

    def is_proxy(self, peer: str) -> bool:
        """Whether the peer is a trusted proxy, whose headers are believed."""
        address = canonical(peer.rpartition(":")[0].strip("[]"))
        return address is not None and self._is_trusted(address)

    def _trusts(self, address: str) -> bool:
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)


def parse_networks(written: str) -> Sequence[Network]:
    """Reads comma-separated networks or addresses. Raises ValueError for anything else."""
    return tuple(ip_network(part.strip()) for part in written.split(",") if part.strip())


def _hops(headers: Headers) -> Iterable[str]:
    """The forwarded addresses, the last one first."""
    hops = [hop.strip() for each in headers.get_all(FORWARDED_FOR) for hop in each.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        # Some proxies write a port too.
        host = hop.rpartition(":")[0] if hop.count(":") == 1 or hop.startswith("[") else hop
        yield host.strip("[]")
