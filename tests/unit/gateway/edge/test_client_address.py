"""The client's address, behind proxies and without them."""

import pytest

from gateway_http.edge.client_address import ClientAddresses, parse_networks
from gateway_http.exchange import Headers

TRUSTED = "10.0.0.0/8, 127.0.0.1, fd00::/8"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1:80", None, "192.0.2.1"),
        ("192.0.2.1:80", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1:80", None, "10.0.0.1"),
        ("10.0.0.1:80", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1:80", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1:80", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1:80", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1:80", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1:80", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1:80", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1:80", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1:80", " 2001:DB8:0::1 ", "2001:db8::1"),
        ("10.0.0.1:80", "", "10.0.0.1"),
        ("10.0.0.1:80", "1.2.3.4," * 500 + "198.51.100.1", "198.51.100.1"),
        ("[fd00::1]:80", "198.51.100.1", "198.51.100.1"),
        ("[::ffff:10.0.0.1]:80", "198.51.100.1", "198.51.100.1"),
        ("::1:80", None, "::1"),
        ("[fe80::1%eth0]:80", None, "fe80::1"),
        ("somewhere", "198.51.100.1", "unknown"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str, forwarded: str | None, client: str
) -> None:
    headers = Headers([] if forwarded is None else [("x-forwarded-for", forwarded)])
    assert ClientAddresses(parse_networks(TRUSTED)).of(peer, headers) == client


def test_without_trusted_proxies_nothing_that_is_said_counts() -> None:
    headers = Headers([("x-forwarded-for", "198.51.100.1")])
    assert ClientAddresses(()).of("127.0.0.1:80", headers) == "127.0.0.1"


def test_networks_are_refused_unless_they_are_ones() -> None:
    for wrong in ("10.0.0.1/8", "proxy.example", "10.0.0.0/33"):
        with pytest.raises(ValueError, match=r".+"):
            parse_networks(wrong)


@pytest.mark.parametrize(
    ("peer", "forwarded", "site"),
    [
        ("192.0.2.1:5", None, "192.0.2.1"),
        ("192.0.2.1:5", "198.51.100.7", "192.0.2.1"),
        ("[2001:db8:1:2:3::4]:5", None, "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.1]:5", None, "192.0.2.1"),
        ("10.0.0.1:5", None, None),
        ("10.0.0.1:5", "nonsense", None),
        ("10.0.0.1:5", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1:5", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("nonsense", None, None),
    ],
)
def test_a_connection_counts_for_its_client_and_never_for_a_proxy(
    peer: str, forwarded: str | None, site: str | None
) -> None:
    sites = () if site is None else (site,)
    headers = Headers([("x-forwarded-for", forwarded)] if forwarded else [])
    assert ClientAddresses(parse_networks("10.0.0.0/8")).sites_of(peer, headers)[:1] == sites


def test_a_connection_counts_for_the_networks_around_its_client() -> None:
    sites = ClientAddresses(()).sites_of("[2001:db8:1:2:3::4]:5", Headers(()))
    assert sites == ("2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48")
