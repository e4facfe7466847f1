"""Network addresses, in one spelling each.

An IPv4-mapped IPv6 address becomes plain IPv4, so that one client has one address over both
kinds of socket. Pure.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote

REMEMBERED_ADDRESSES = 16_384
IPV6_SITE_BITS = (64, 56, 48)
"""A customer of a provider has a network of one of these sizes (RFC 6177)."""
NETWORK_FACTOR = 4
"""How much more than a network the next wider one of `networks_of` may have or do."""
_NUMERIC_HOST = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)")
"""Resolvers read a host whose last label is a number as an IPv4 address."""
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


@lru_cache(REMEMBERED_ADDRESSES)
def canonical(text: str) -> str | None:
    """The canonical spelling of an IP address, without a zone; None if it is not one."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


@lru_cache(REMEMBERED_ADDRESSES)
def networks_of(address: str) -> tuple[str, ...]:
    """The networks of an address that one customer may control, the narrowest first: an IPv4
    address itself, or the /64, the /56 and the /48 of an IPv6 address. Any other text is returned
    unchanged."""
    if ":" not in address:
        return (address,)
    return tuple(str(ip_network((address, bits), strict=False)) for bits in IPV6_SITE_BITS)


def site_of(address: str) -> str:
    """The narrowest of `networks_of` an address."""
    return networks_of(address)[0]


def is_callable_host(host: str) -> bool:
    """Whether a call can be sent to that host: a DNS name, an IPv4 address, or an IPv6 address
    in brackets. False for an address that is malformed, unspecified (0.0.0.0, [::]), multicast
    or a broadcast, and for a short form such as `0` or `127.1`."""
    if host.startswith("["):
        address = canonical(host[1:-1]) if host.endswith("]") and "%" not in host else None
        return address is not None and _is_unicast(ip_address(address))
    if not _NUMERIC_HOST.fullmatch(host):
        return _NAME.fullmatch(host) is not None
    try:
        return _is_unicast(IPv4Address(host))
    except ValueError:
        return False


def _is_unicast(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address) and (address.is_reserved or address.packed[0] == 0):
        return False
    return not (address.is_unspecified or address.is_multicast)


def socket_of_peer(peer: str) -> tuple[str, int] | None:
    """The IP address and the port in a gRPC peer name, such as ipv4:192.0.2.1:50051 or
    ipv6:%5B2001:db8::1%5D:50051. None for a peer without them, such as a Unix socket."""
    kind, _, place = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = unquote(place).rpartition(":")
    address = canonical(host.strip("[]"))
    return None if address is None or not port.isdecimal() else (address, int(port))


def address_of_peer(peer: str) -> str | None:
    """The address of `socket_of_peer` alone."""
    found = socket_of_peer(peer)
    return None if found is None else found[0]
