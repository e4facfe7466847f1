"""Network addresses, in one spelling each.

An IPv4 address that came over an IPv6 socket is IPv4, so that nobody is two clients by
the socket that they chose. Pure.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote

REMEMBERED_ADDRESSES = 16_384
IPV6_SITE_BITS = 64


@lru_cache(REMEMBERED_ADDRESSES)
def canonical(text: str) -> str | None:
    """The address in its one spelling, without a zone; None for what is none."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


@lru_cache(REMEMBERED_ADDRESSES)
def site_of(address: str) -> str:
    """What one customer has: an IPv4 address itself, of an IPv6 address its /64. Anything
    else comes back as it is."""
    if ":" not in address:
        return address
    return str(ip_network((address, IPV6_SITE_BITS), strict=False))


def address_of_peer(peer: str) -> str | None:
    """Whose connection it is, by what gRPC calls it: ipv4:192.0.2.1:50051 or
    ipv6:%5B2001:db8::1%5D:50051. None for what has no such address, as a Unix socket."""
    kind, _, place = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return canonical(unquote(place).rpartition(":")[0].strip("[]"))
