"""The canonical form of addresses, and the network of one customer."""

import pytest

from mesh.addresses import address_of_peer, canonical, networks_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50051", "192.0.2.1"),
        ("ipv6:%5B2001:DB8:0::1%5D:50051", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:50051", "2001:db8::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50051", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50051", "fe80::1"),
        ("unix:/run/mesh.sock", None),
        ("unix:", None),
        ("ipv4:somewhere:1", None),
        ("", None),
    ],
)
def test_the_peer_of_a_connection_is_an_address_or_none(peer: str, address: str | None) -> None:
    assert address_of_peer(peer) == address


def test_an_address_has_one_spelling() -> None:
    assert canonical("2001:DB8:0:0::1") == canonical("2001:db8::1") == "2001:db8::1"
    assert canonical("::ffff:192.0.2.1") == canonical("192.0.2.1")
    assert canonical("unknown") is None


def test_all_addresses_of_an_ipv6_customer_are_one_site() -> None:
    networks = ("2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48")
    assert networks_of("2001:db8:1:2:3::4") == networks_of("2001:db8:1:2:ffff::1") == networks
    assert networks_of("2001:db8:1:3::1")[0] != networks[0]
    assert networks_of("2001:db8:1:3::1")[1:] == networks[1:]
    assert networks_of("2001:db8:1:203::1")[1] != networks[1]
    assert networks_of("2001:db8:2:2::1")[2] != networks[2]
    assert networks_of("192.0.2.1") == ("192.0.2.1",)
