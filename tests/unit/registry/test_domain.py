"""Leases."""

import itertools
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import InvalidArgument
from registry.domain.leases import LEASE_SECONDS, LeaseExpired, Leases, RegistryFull, validate

ENTRY = Instance("gacha_svc-1", "gacha_svc", "127.0.0.1:7000")


def make_leases(max_instances: int = 10) -> Leases:
    numbers = itertools.count(1)
    return Leases(lambda: f"lease-{next(numbers)}", 0.0, max_instances=max_instances)


def sweep_until(leases: Leases, begin: float, end: float) -> None:
    """Sweeps as often as the registry does."""
    steps = int((end - begin) / 0.2)
    for step in range(1, steps + 1):
        leases.sweep(begin + step * 0.2)
    leases.sweep(end)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:7000", "gacha-1.mesh.local:1", "[::1]:65535", "localhost:80", "gacha_svc:7000"],
)
def test_valid_addresses_are_taken(address: str) -> None:
    validate(Instance("a", "s", address))


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "0.1.2.3", "256.256.256.256", "127.0.0.1.", "127.1", "0", "0x7f.1"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "[::]", "[ff02::1]", "[::ffff:0.0.0.0]"),
        *("[:::1]", "[fe80::1%1]", "[::1", "::1", "a..b", "a b", "-", "h" * 64),
    ],
)
@pytest.mark.parametrize("field", ["address", "metrics_address"])
def test_an_address_that_nobody_can_call_is_refused_naming_the_field(host: str, field: str) -> None:
    addresses = {"address": "h:1", "metrics_address": "h:2", field: f"{host}:7000"}
    entry = Instance("a", "s", addresses["address"], metrics_address=addresses["metrics_address"])
    with pytest.raises(InvalidArgument) as caught:
        make_leases().register(entry, 0.0)
    assert caught.value.metadata == {"field": f"instance.{field}"}


@given(st.ip_addresses())
def test_an_ip_address_is_taken_if_it_names_one_machine(address: IPv4Address | IPv6Address) -> None:
    host = str(address) if address.version == 4 else f"[{address}]"
    plain = (address.ipv4_mapped if address.version == 6 else None) or address
    is_one_machine = not plain.is_multicast and not plain.is_unspecified
    if plain.version == 4:
        is_one_machine = is_one_machine and plain not in ip_network("0.0.0.0/8")
        is_one_machine = is_one_machine and plain not in ip_network("240.0.0.0/4")
    try:
        validate(Instance("a", "s", f"{host}:7000"))
    except InvalidArgument:
        assert not is_one_machine
    else:
        assert is_one_machine


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (Instance("", "s", "h:1"), "instance.id"),
        (Instance("a b", "s", "h:1"), "instance.id"),
        (Instance("a\n", "s", "h:1"), "instance.id"),
        (Instance("ä", "s", "h:1"), "instance.id"),
        (Instance("a" * 101, "s", "h:1"), "instance.id"),
        (Instance("a", "", "h:1"), "instance.service"),
        (Instance("a", "s" * 101, "h:1"), "instance.service"),
        (Instance("a", "s", ""), "instance.address"),
        (Instance("a", "s", "h"), "instance.address"),
        (Instance("a", "s", "h:"), "instance.address"),
        (Instance("a", "s", ":1"), "instance.address"),
        (Instance("a", "s", "h:0"), "instance.address"),
        (Instance("a", "s", "h:65536"), "instance.address"),
        (Instance("a", "s", "h:1\n"), "instance.address"),
        (Instance("a", "s", "unix:/tmp/x"), "instance.address"),
        (Instance("a", "s", "h" * 260 + ":1"), "instance.address"),
    ],
)
def test_a_wrong_instance_is_refused_naming_the_field(entry: Instance, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make_leases().register(entry, 0.0)
    assert caught.value.metadata == {"field": field}


def test_a_renewed_lease_holds_and_one_that_was_not_lapses_on_time() -> None:
    leases = make_leases()
    lease_id = leases.register(ENTRY, 0.0)
    sweep_until(leases, 0.0, 2.9)
    leases.renew(lease_id, None, 2.9)
    sweep_until(leases, 2.9, 2.9 + LEASE_SECONDS - 0.01)
    assert leases.snapshot().entries == (ENTRY,)
    assert leases.sweep(2.9 + LEASE_SECONDS) == (ENTRY,)
    assert leases.snapshot().entries == ()
    with pytest.raises(LeaseExpired):
        leases.renew(lease_id, None, 6.0)


def test_time_during_a_freeze_of_the_registry_does_not_expire_leases() -> None:
    leases = make_leases()
    lease_id = leases.register(ENTRY, 0.0)
    sweep_until(leases, 0.0, 1.0)
    assert leases.sweep(61.0) == ()
    sweep_until(leases, 61.0, 62.9)
    leases.renew(lease_id, None, 62.9)
    sweep_until(leases, 62.9, 65.0)
    assert leases.snapshot().entries == (ENTRY,)


def test_a_heartbeat_before_the_sweep_that_follows_a_freeze_gives_no_more_than_a_lease() -> None:
    leases = make_leases()
    lease_id = leases.register(ENTRY, 0.0)
    leases.renew(lease_id, None, 60.0)
    leases.sweep(60.0)
    sweep_until(leases, 60.0, 60.0 + LEASE_SECONDS)
    assert leases.snapshot().entries == ()


def test_registering_again_replaces_the_entry_and_its_lease() -> None:
    leases = make_leases()
    old = leases.register(ENTRY, 0.0)
    moved = Instance(ENTRY.id, ENTRY.service, "127.0.0.1:7001")
    new = leases.register(moved, 0.0)
    assert leases.snapshot().entries == (moved,)
    leases.remove(old)
    assert leases.snapshot().entries == (moved,)
    with pytest.raises(LeaseExpired):
        leases.renew(old, None, 0.0)
    leases.renew(new, None, 0.0)


def test_the_revision_grows_with_the_list_and_with_nothing_else() -> None:
    leases = make_leases()
    revisions = [leases.revision]
    lease_id = leases.register(ENTRY, 0.0)
    revisions.append(leases.revision)
    leases.renew(lease_id, InstanceState.DRAINING, 0.0)
    revisions.append(leases.revision)
    leases.renew(lease_id, InstanceState.DRAINING, 0.0)
    leases.renew(lease_id, None, 0.0)
    leases.sweep(0.1)
    assert leases.revision == revisions[-1]
    leases.remove(lease_id)
    leases.remove(lease_id)
    revisions.append(leases.revision)
    assert revisions == [0, 1, 2, 3]


def test_a_full_registry_takes_no_new_instance_but_renews_old_ones() -> None:
    leases = make_leases(max_instances=1)
    leases.register(ENTRY, 0.0)
    with pytest.raises(RegistryFull):
        leases.register(Instance("other", "s", "h:1"), 0.0)
    leases.register(ENTRY, 0.0)


class AnyLeases(RuleBasedStateMachine):
    """Compared with a model: the time until which each instance is certainly listed."""

    leases_held = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.leases = make_leases()
        self.valid_until: dict[str, tuple[str, float]] = {}
        self.last = self.leases.snapshot()

    @rule(target=leases_held, id=st.sampled_from("abc"), address=st.sampled_from(("h:1", "h:2")))
    def register(self, id: str, address: str) -> tuple[str, str]:
        lease_id = self.leases.register(Instance(id, "s", address), self.now)
        self.valid_until[id] = (lease_id, self.now + LEASE_SECONDS)
        return id, lease_id

    @rule(lease=leases_held, state=st.sampled_from((None, *InstanceState)))
    def renew(self, lease: tuple[str, str], state: InstanceState | None) -> None:
        id, lease_id = lease
        is_held = id in self.valid_until and self.valid_until[id][0] == lease_id
        if is_held:
            self.leases.renew(lease_id, state, self.now)
            self.valid_until[id] = (lease_id, self.now + LEASE_SECONDS)
        else:
            with pytest.raises(LeaseExpired):
                self.leases.renew(lease_id, state, self.now)

    @rule(lease=leases_held)
    def remove(self, lease: tuple[str, str]) -> None:
        id, lease_id = lease
        self.leases.remove(lease_id)
        if id in self.valid_until and self.valid_until[id][0] == lease_id:
            del self.valid_until[id]

    @rule(seconds=st.sampled_from((0.25, 0.5, 1.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.leases.sweep(self.now)
        lapsed = [id for id, (_, until) in self.valid_until.items() if until <= self.now]
        for id in lapsed:
            del self.valid_until[id]

    @invariant()
    def those_with_a_lease_are_listed_in_order_and_no_others(self) -> None:
        ids = [entry.id for entry in self.leases.snapshot().entries]
        assert ids == sorted(self.valid_until)

    @invariant()
    def the_revision_tells_every_change(self) -> None:
        snapshot = self.leases.snapshot()
        assert snapshot.revision >= self.last.revision
        if snapshot.revision == self.last.revision:
            assert snapshot.entries == self.last.entries
        self.last = snapshot


TestAnyLeases = AnyLeases.TestCase
TestAnyLeases.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
