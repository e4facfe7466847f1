"""Quotas of IPv6 networks beside those of addresses."""

import itertools

from gateway_http.edge.rate_limits.network_counters import NetworkCounters
from gateway_http.edge.rate_limits.policy import Policy
from mesh.addresses import NETWORK_FACTOR

QUOTA = 10


def counters() -> NetworkCounters:
    return NetworkCounters(Policy("address", QUOTA, 60), lambda: 1_800_000_000.0)


def admitted(counted: NetworkCounters, address: str) -> int:
    """How many requests in a row are admitted."""
    return sum(1 for _ in itertools.takewhile(lambda _: counted.take(address).admitted, range(999)))


def test_an_address_has_the_quota_of_the_policy() -> None:
    counted = counters()
    assert admitted(counted, "192.0.2.1") == QUOTA
    assert admitted(counted, "192.0.2.2") == QUOTA
    assert admitted(counted, "2001:db8::1") == QUOTA
    assert admitted(counted, "2001:db8::2") == 0


def test_a_customer_with_a_wide_network_has_a_quota_for_all_of_it() -> None:
    counted = counters()
    of_56 = sum(admitted(counted, f"2001:db8:0:{number:x}::1") for number in range(256))
    assert of_56 == QUOTA * NETWORK_FACTOR
    of_48 = sum(admitted(counted, f"2001:db8:0:{number << 8:x}::1") for number in range(256))
    assert of_56 + of_48 == QUOTA * NETWORK_FACTOR**2
    assert admitted(counted, "2001:db8:1::1") == QUOTA


def test_what_a_narrow_network_refuses_does_not_count_for_its_neighbours() -> None:
    counted = counters()
    for _ in range(1_000):
        counted.take("2001:db8::1")
    assert admitted(counted, "2001:db8:0:1::1") == QUOTA


def test_the_standing_is_that_of_the_network_with_the_fewest_requests_left() -> None:
    counted = counters()
    assert counted.take("2001:db8::1").remaining == QUOTA - 1
    for number in range(1, NETWORK_FACTOR):
        admitted(counted, f"2001:db8:0:{number:x}::1")
    admitted(counted, "2001:db8:0:9::1")
    refused = counted.take("2001:db8:0:a::1")
    assert (refused.admitted, refused.policy.name) == (False, "address")
