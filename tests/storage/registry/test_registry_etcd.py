"""Registries over an etcd whose members are killed, frozen, emptied and restarted."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import Unavailable
from proof.etcd_cluster import MEMBERS, EtcdCluster
from registry.adapters.etcd.client import EtcdClient
from registry.adapters.etcd.store import EtcdStore
from registry.domain.leases import LeaseExpired
from tests.storage.registry.registry_stores import A, B, Heart, Stores, ids, until_ids
from tests.unit.registry.running import until

LEASE_SECONDS = 2.0
LONGER_THAN_A_LEASE_SECONDS = 3.5
LEFT_SECONDS = 5.0
"""In which a frozen member is left by all, and a new leader elected; twice what it takes."""


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with Stores() as stores:
        yield stores


@pytest.fixture
async def registries(stores: Stores, etcd_cluster: EtcdCluster) -> list[EtcdStore]:
    """Three registries; each prefers another etcd member."""
    return [await stores.over(etcd_cluster.addresses, first_turn=turn) for turn in range(3)]


class Listing:
    """Records every list that a store publishes from now on."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self.seen: list[list[str]] = []

    async def run(self) -> None:
        while True:
            snapshot = await self._store.snapshot()
            self.seen.append([entry.id for entry in snapshot.entries])
            await self._store.snapshot_after(snapshot.revision)


async def register_soon(registry: EtcdStore, entry: Instance) -> str:
    """Registers repeatedly, like an instance, because an election may be in progress."""
    while True:
        try:
            return await registry.register(entry)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_registries_see_one_anothers_instances_at_once(registries: list[EtcdStore]) -> None:
    await registries[0].register(A)
    await registries[1].register(B)
    for registry in registries:
        await until_ids(registry, ["a-1", "b-1"], 2.0)
    snapshots = [await registry.snapshot() for registry in registries]
    assert snapshots[0] == snapshots[1] == snapshots[2]


async def test_any_registry_renews_changes_and_ends_a_lease(registries: list[EtcdStore]) -> None:
    first, second, third = registries
    lease_id = await first.register(A)
    await second.renew(lease_id, InstanceState.DRAINING)
    assert (await second.snapshot()).entries == (replace(A, state=InstanceState.DRAINING),)
    await third.remove(lease_id)
    assert await ids(third) == []
    with pytest.raises(LeaseExpired):
        await first.renew(lease_id, None)
    await until_ids(first, [], 2.0)


async def test_an_instance_outlives_the_registry_that_took_it(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    async with Stores() as short_lived:
        short_lived.prefix = stores.prefix
        lease_id = await (await short_lived.over(etcd_cluster.addresses)).register(A)
    second = await stores.over(etcd_cluster.addresses)
    heart = Heart(lease_id, [second])
    stores.run(heart.run)
    await heart.beats(int(LONGER_THAN_A_LEASE_SECONDS / 0.5))
    assert await ids(second) == ["a-1"]


async def test_states_that_are_changed_at_two_registries_at_once_all_come_true(
    registries: list[EtcdStore],
) -> None:
    lease_id = await registries[0].register(A)
    states = [InstanceState.DRAINING, InstanceState.SERVING] * 6
    await asyncio.gather(
        *(registries[n % 3].renew(lease_id, state) for n, state in enumerate(states))
    )
    await registries[0].renew(lease_id, InstanceState.DRAINING)
    snapshot = await registries[0].snapshot()
    assert snapshot.entries == (replace(A, state=InstanceState.DRAINING),)


async def test_the_list_is_the_same_one_after_a_restart_of_every_registry(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    first = await stores.over(etcd_cluster.addresses)
    await first.register(A)
    second = await stores.over(etcd_cluster.addresses)
    assert await second.snapshot() == await first.snapshot()


@pytest.mark.parametrize("which", ["the leader", "a follower"])
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_one_member_of_etcd_is_not_missed(
    stores: Stores,
    etcd_cluster: EtcdCluster,
    registries: list[EtcdStore],
    which: str,
    how: str,
) -> None:
    heart = Heart(await registries[0].register(A), registries)
    stores.run(heart.run)
    await until_ids(registries[2], ["a-1"], 5.0)
    listing = Listing(registries[2])
    stores.run(listing.run)
    leader = etcd_cluster.leader()
    victim = leader if which == "the leader" else next(n for n in MEMBERS if n != leader)
    harm = etcd_cluster.kill if how == "killed" else etcd_cluster.freeze
    harm(victim)
    harmed_at = time.monotonic()
    lease_id = await register_soon(registries[1], B)
    beating = stores.run(Heart(lease_id, registries).run)
    for registry in registries:
        await until_ids(registry, ["a-1", "b-1"], 5.0)
    assert time.monotonic() - harmed_at < LEFT_SECONDS
    await heart.beats(4)
    await asyncio.sleep(LONGER_THAN_A_LEASE_SECONDS)
    beating.cancel()
    await registries[2].remove(lease_id)
    assert all("a-1" in seen for seen in listing.seen), listing.seen
    etcd_cluster.revive()
    await asyncio.sleep(LONGER_THAN_A_LEASE_SECONDS)
    if heart.is_expired:
        # etcd before 3.4.31 and 3.5.13, when a frozen leader resumes: docs/adr/0017.
        assert (which, how) == ("the leader", "frozen")
        await registries[0].register(A)
    else:
        await heart.beats()
        assert all("a-1" in seen for seen in listing.seen), listing.seen
    for registry in registries:
        await until_ids(registry, ["a-1"], 5.0)


async def test_without_a_quorum_no_instance_is_dropped_and_changes_are_refused_in_time(
    stores: Stores, etcd_cluster: EtcdCluster, registries: list[EtcdStore]
) -> None:
    lease_id = await registries[0].register(A)
    await until_ids(registries[1], ["a-1"], 5.0)
    listing = Listing(registries[1])
    stores.run(listing.run)
    etcd_cluster.kill(*MEMBERS[:2])
    heart = Heart(lease_id, registries)
    stores.run(heart.run)
    await until(lambda: len(heart.failures) > 3, 30.0)
    await asyncio.sleep(LONGER_THAN_A_LEASE_SECONDS)
    for registry in registries:
        for change in (registry.register(B), registry.remove(lease_id)):
            began = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await change
            assert caught.value.reason == "ETCD_UNAVAILABLE"
            assert time.monotonic() - began < 2.0
        assert await ids(registry) == ["a-1"]
    etcd_cluster.revive()
    await heart.beats()
    assert all(seen == ["a-1"] for seen in listing.seen), listing.seen


async def test_all_of_etcd_may_go_and_come_back(
    stores: Stores, etcd_cluster: EtcdCluster, registries: list[EtcdStore]
) -> None:
    heart = Heart(await registries[0].register(A), registries)
    stores.run(heart.run)
    await registries[1].register(B)
    await until_ids(registries[2], ["a-1", "b-1"])  # one's changes reach the others later
    before = await registries[2].snapshot()
    etcd_cluster.kill(*MEMBERS)
    await until(lambda: len(heart.failures) > 6, 30.0)
    assert await registries[2].snapshot() == before
    etcd_cluster.revive()
    await heart.beats()
    for registry in registries:
        await until_ids(registry, ["a-1"])  # the other's lease was not renewed
        assert (await registry.snapshot()).list_id == before.list_id


async def test_a_registry_that_never_reached_etcd_says_so_and_heals(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    etcd_cluster.kill(*MEMBERS)
    store = EtcdStore(EtcdClient(etcd_cluster.addresses), prefix=stores.prefix)
    stores.run(store.run)
    with pytest.raises(Unavailable) as caught:
        await store.register(A)
    assert caught.value.reason == "ETCD_UNAVAILABLE"
    with pytest.raises(Unavailable) as caught:
        await store.snapshot()
    assert caught.value.reason == "NO_LIST_YET"
    assert not store.has_list()
    etcd_cluster.revive()
    await until(store.has_list)
    await store.register(A)
    assert await ids(store) == ["a-1"]


async def test_a_registry_whose_changes_were_compacted_reads_the_list_anew(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    behind = await stores.over(etcd_cluster.addresses[:1])
    lost = await behind.register(A)
    etcd_cluster.kill(MEMBERS[0])
    other = await stores.over(etcd_cluster.addresses[1:])
    await other.remove(lost)
    lease_id = await other.register(B)
    heart = Heart(lease_id, [other])
    stores.run(heart.run)
    revision = etcd_cluster.compact()
    assert await ids(behind) == ["a-1"]
    etcd_cluster.revive()
    await until_ids(behind, ["b-1"])
    assert (await behind.snapshot()).revision >= revision
    await other.remove(lease_id)
    await until_ids(behind, [])


async def test_an_etcd_that_lost_its_data_has_another_list(
    stores: Stores, etcd_cluster: EtcdCluster, registries: list[EtcdStore]
) -> None:
    lease_id = await registries[0].register(A)
    before = await registries[0].snapshot()
    etcd_cluster.forget()
    for registry in registries:
        await until_ids(registry, [])
        with pytest.raises(LeaseExpired):
            await registry.renew(lease_id, None)
    await registries[0].register(A)
    for registry in registries:
        await until_ids(registry, ["a-1"], 5.0)
    snapshots = [await registry.snapshot() for registry in registries]
    assert {snapshot.list_id for snapshot in snapshots} == {snapshots[0].list_id}
    assert snapshots[0].list_id != before.list_id


async def test_a_key_that_no_registry_wrote_is_passed_over(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    watching = await stores.over(etcd_cluster.addresses)
    for value in (b"", b"[]", b'{"service": "a"}', b'{"service":1,"address":2,"state":"x"}'):
        etcd_cluster.put(f"{stores.prefix}instances/stray".encode(), value)
    await watching.register(A)
    assert await ids(watching) == ["a-1"]
    assert await ids(await stores.over(etcd_cluster.addresses)) == ["a-1"]
