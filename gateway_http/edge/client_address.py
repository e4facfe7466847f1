"""Who the client is when proxies stand between: X-Forwarded-For, as far as it can be trusted.

Every proxy appends the address that it was connected from, so the list is true from its
end on, for as long as those who wrote it are trusted. The client is the last address that
is no trusted proxy's; what stands before it, anybody may have written. Without trusted
proxies the header is not looked at.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gateway_http.exchange import Headers
from mesh.addresses import REMEMBERED_ADDRESSES, canonical

Network = IPv4Network | IPv6Network
MAX_HOPS = 32
UNKNOWN = "unknown"


class ClientAddresses:
    """Finds the client's address. Pure."""

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(REMEMBERED_ADDRESSES)(self._trusts)

    def of(self, peer: str, headers: Headers) -> str:
        """The client's address, an IPv4 or IPv6 one without a port; `peer` is who is
        connected, as host:port or [host]:port, and UNKNOWN comes back when it is neither."""
        address = canonical(peer.rpartition(":")[0].strip("[]"))
        if address is None:
            return UNKNOWN
        if not self._trusted or not self._is_trusted(address):
            return address
        for hop in _hops(headers):
            forwarded = canonical(hop)
            if forwarded is None:
                break
            address = forwarded
            if not self._is_trusted(address):
                break
        return address

    def is_proxy(self, peer: str) -> bool:
        """Whether who is connected is a trusted proxy, so that its headers are true."""
        address = canonical(peer.rpartition(":")[0].strip("[]"))
        return address is not None and self._is_trusted(address)

    def _trusts(self, address: str) -> bool:
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)


def parse_networks(written: str) -> Sequence[Network]:
    """Networks or addresses with commas between. Raises ValueError for anything else."""
    return tuple(ip_network(part.strip()) for part in written.split(",") if part.strip())


def _hops(headers: Headers) -> Iterable[str]:
    """The forwarded addresses from the last on."""
    hops = [hop.strip() for each in headers.get_all("x-forwarded-for") for hop in each.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        # Some proxies write a port too.
        host = hop.rpartition(":")[0] if hop.count(":") == 1 or hop.startswith("[") else hop
        yield host.strip("[]")
