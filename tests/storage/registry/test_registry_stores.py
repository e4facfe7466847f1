"""The guarantees of every registry store, in memory and on a real etcd of three members."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import InvalidArgument
from proof.etcd_cluster import EtcdCluster
from registry.domain.leases import LeaseExpired, RegistryFull
from registry.domain.store import RegistryLeaving, Store
from tests.storage.registry.registry_stores import A, B, Heart, Stores, ids, until_ids
from tests.unit.registry.running import until

LEASE_SECONDS = 1.0
BEAT_SECONDS = 0.2
UNKNOWN = ["", "nonsense", "1f/a-1", "0/a-1", "ffffffffffffffff/a-1", "1f/", "-1/a-1", "1f/ä"]


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with Stores() as stores:
        yield stores


@pytest.fixture(params=["memory", "etcd"])
async def store(request: pytest.FixtureRequest, stores: Stores) -> Store:
    if request.param == "memory":
        return await stores.in_memory(LEASE_SECONDS)
    cluster: EtcdCluster = request.getfixturevalue("etcd_cluster")
    return await stores.over(cluster.addresses, lease_seconds=LEASE_SECONDS)


async def test_registered_instances_are_listed_in_order_under_a_later_revision(
    store: Store,
) -> None:
    before = await store.snapshot()
    await store.register(B)
    await store.register(A)
    after = await store.snapshot()
    assert before.entries == ()
    assert after.entries == (A, B)
    assert after.revision > before.revision
    assert after.list_id == before.list_id != ""
    assert store.has_list()
    assert store.lease_seconds == LEASE_SECONDS


async def test_a_lease_tells_the_instance_that_it_keeps_listed(store: Store) -> None:
    old, other = await store.register(A), await store.register(B)
    assert [await store.holder(each) for each in (old, other)] == ["a-1", "b-1"]
    new = await store.register(A)
    assert [await store.holder(each) for each in (old, new)] == [None, "a-1"]
    await store.remove(new)
    for unknown in (new, *UNKNOWN):
        assert await store.holder(unknown) is None


async def test_a_lease_of_one_instance_is_none_of_another(store: Store) -> None:
    lease_id = await store.register(A)
    await store.register(B)
    assert await store.holder(lease_id.replace("a-1", "b-1")) in (None, "a-1")


async def test_registering_again_replaces_the_entry_and_its_lease(store: Store) -> None:
    old = await store.register(A)
    moved = replace(A, address="127.0.0.1:9")
    new = await store.register(moved)
    assert (await store.snapshot()).entries == (moved,)
    for state in (None, InstanceState.DRAINING):
        with pytest.raises(LeaseExpired):
            await store.renew(old, state)
    await store.remove(old)
    await store.renew(new, None)
    assert (await store.snapshot()).entries == (moved,)


async def test_of_many_that_register_one_id_at_once_one_holds_it(store: Store) -> None:
    entries = [replace(A, address=f"127.0.0.1:{port}") for port in range(1, 11)]
    leases = await asyncio.gather(*(store.register(entry) for entry in entries))
    outcomes = await asyncio.gather(
        *(store.renew(lease, InstanceState.SERVING) for lease in leases), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LeaseExpired"] * 9 + [
        "NoneType"
    ]
    holder = entries[outcomes.index(None)]
    assert (await store.snapshot()).entries == (holder,)


async def test_a_watcher_sees_a_change_and_no_heartbeat(store: Store) -> None:
    lease_id = await store.register(A)
    seen = (await store.snapshot()).revision
    waiting = asyncio.create_task(store.snapshot_after(seen))
    await store.renew(lease_id, None)
    await store.renew(lease_id, InstanceState.SERVING)
    assert not waiting.done()
    await store.renew(lease_id, InstanceState.DRAINING)
    snapshot = await asyncio.wait_for(waiting, 5.0)
    assert snapshot.entries == (replace(A, state=InstanceState.DRAINING),)
    assert snapshot.revision > seen


async def test_a_heartbeat_without_a_state_leaves_it_as_it_is(store: Store) -> None:
    lease_id = await store.register(A)
    await store.renew(lease_id, InstanceState.DRAINING)
    await store.renew(lease_id, None)
    assert (await store.snapshot()).entries == (replace(A, state=InstanceState.DRAINING),)
    await store.renew(lease_id, InstanceState.SERVING)
    assert (await store.snapshot()).entries == (A,)


async def test_a_watcher_that_is_behind_is_answered_at_once(store: Store) -> None:
    seen = (await store.snapshot()).revision
    await store.register(A)
    for revision in (seen, seen - 1000):
        snapshot = await asyncio.wait_for(store.snapshot_after(revision), 1.0)
        assert snapshot.entries == (A,)


async def test_a_renewed_lease_holds_and_one_that_was_not_runs_out(
    stores: Stores, store: Store
) -> None:
    kept, lost = await store.register(A), await store.register(B)
    heart = Heart(kept, [store], BEAT_SECONDS)
    stores.run(heart.run)
    await until_ids(store, ["a-1"])
    await heart.beats(int(2 * LEASE_SECONDS / BEAT_SECONDS))
    assert await ids(store) == ["a-1"]
    with pytest.raises(LeaseExpired):
        await store.renew(lost, None)


async def test_removing_is_done_at_once_and_may_be_repeated(store: Store) -> None:
    lease_id = await store.register(A)
    revision = (await store.snapshot()).revision
    await store.remove(lease_id)
    after = await store.snapshot()
    assert after.entries == ()
    assert after.revision > revision
    await store.remove(lease_id)
    assert (await store.snapshot()).revision == after.revision
    with pytest.raises(LeaseExpired):
        await store.renew(lease_id, None)


@pytest.mark.parametrize("lease_id", UNKNOWN)
async def test_an_unknown_lease_is_not_renewed_and_its_removal_changes_nothing(
    store: Store, lease_id: str
) -> None:
    await store.register(A)
    with pytest.raises(LeaseExpired):
        await store.renew(lease_id, InstanceState.DRAINING)
    await store.remove(lease_id)
    assert (await store.snapshot()).entries == (A,)


async def test_a_wrong_instance_is_refused_naming_the_field_and_is_not_listed(
    store: Store,
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await store.register(Instance("a b", "a", "h:1"))
    assert caught.value.metadata == {"field": "instance.id"}
    assert await ids(store) == []


@pytest.mark.parametrize("instance_id", ["a/b", "a/", "~" * 100, "..", "0"])
async def test_any_valid_id_is_an_instance_of_its_own(store: Store, instance_id: str) -> None:
    await store.register(A)
    odd = Instance(instance_id, "a", "h:1")
    lease_id = await store.register(odd)
    await store.renew(lease_id, InstanceState.DRAINING)
    assert set((await store.snapshot()).entries) == {A, replace(odd, state=InstanceState.DRAINING)}
    await store.remove(lease_id)
    assert (await store.snapshot()).entries == (A,)


async def test_revisions_grow_with_every_change(store: Store) -> None:
    revisions = [(await store.snapshot()).revision]
    for number in range(5):
        lease_id = await store.register(replace(A, id=f"a-{number}"))
        revisions.append((await store.snapshot()).revision)
        await store.renew(lease_id, InstanceState.DRAINING)
        revisions.append((await store.snapshot()).revision)
        await store.remove(lease_id)
        revisions.append((await store.snapshot()).revision)
    assert revisions == sorted(set(revisions))


async def test_closing_lets_every_watcher_go(store: Store) -> None:
    seen = (await store.snapshot()).revision
    waiting = [asyncio.create_task(store.snapshot_after(seen)) for _ in range(3)]
    await asyncio.sleep(0)
    store.close()
    store.close()
    await until(lambda: all(task.done() for task in waiting))
    assert all(isinstance(task.exception(), RegistryLeaving) for task in waiting)
    with pytest.raises(RegistryLeaving):
        await store.snapshot()


async def test_a_registry_that_leaves_ends_its_own_lease_last(store: Store) -> None:
    lease_id = await store.register(A)
    store.close()
    await asyncio.wait_for(store.remove(lease_id), 5.0)
    with pytest.raises(LeaseExpired):
        await store.renew(lease_id, None)


async def test_a_full_registry_takes_no_new_instance_but_old_ones_again(
    stores: Stores, etcd_cluster: EtcdCluster
) -> None:
    store = await stores.over(etcd_cluster.addresses, max_instances=1)
    await store.register(A)
    with pytest.raises(RegistryFull):
        await store.register(B)
    await store.register(A)
    assert await ids(store) == ["a-1"]
