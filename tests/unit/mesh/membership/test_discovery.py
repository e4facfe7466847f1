"""Directory and Registration with real registries that start and stop."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from time import monotonic

import pytest

from mesh.calling.transport import NoAnswer, Transport
from mesh.calling.unary import UnaryTransport
from mesh.calls import Metadata
from mesh.contract.instances import Instance, InstanceState
from mesh.lanes.transport import LaneTransport
from mesh.membership.discovery import Directory, NoRegistry
from mesh.membership.registration import Registration
from registry.domain.leases import LEASE_SECONDS as LEASE
from registry.rpc.registry import KEEPALIVE_SECONDS
from registry.storage.memory import MemoryStore
from tests.unit.registry.running import LEASE_SECONDS, RunningRegistry, token, until

A = Instance("a-1", "a", "127.0.0.1:1")
SETTLE_SECONDS = 0.8
HEARTBEAT_SECONDS = 0.1


class StoppableTransport(UnaryTransport):
    """Sends nothing while `is_stopped`, like that of a frozen process."""

    is_stopped = False

    async def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> bytes:
        if self.is_stopped:
            raise NoAnswer(was_sent=False)
        return await super().call(address, method, request, metadata, timeout_seconds)


class World:
    """Registries, directories and registrations; all end with the test."""

    def __init__(self) -> None:
        self._endings: list[Callable[[], Awaitable[None]]] = []
        self.registries: list[RunningRegistry] = []

    async def registry(
        self,
        listen: str = "127.0.0.1:0",
        *,
        shared: MemoryStore | None = None,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
    ) -> RunningRegistry:
        registry = await RunningRegistry.start(
            listen, shared=shared, keepalive_seconds=keepalive_seconds
        )
        self.registries.append(registry)
        return registry

    async def directory(self, *registries: RunningRegistry) -> Directory:
        directory = Directory(
            [registry.address for registry in registries],
            token,
            jitter=lambda: 0.0,
            settle_seconds=SETTLE_SECONDS,
        )
        directory.start()
        self._endings.append(directory.close)
        await directory.first_snapshot(5.0)
        return directory

    def registration(
        self,
        *registries: RunningRegistry,
        instance: Instance = A,
        transport: Transport | None = None,
    ) -> Registration:
        registration = Registration(
            instance,
            [registry.address for registry in registries],
            token,
            transport=transport,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            jitter=lambda: 0.0,
        )
        registration.start()
        self._endings.append(registration.deregister)
        return registration

    async def end(self) -> None:
        for running in self.registries:
            await running.stop()
        for ending in self._endings:
            await ending()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end()


async def test_a_registered_instance_is_seen_and_stays_beyond_its_first_lease(
    world: World,
) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    registration = world.registration(registry)
    assert await registration.registered(5.0)
    await until(lambda: directory.instances("a") == (A,))
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert directory.instances("a") == (A,)
    assert directory.services() == ("a",)
    assert directory.age_seconds() == 0.0


async def test_draining_and_leaving_are_seen_at_once(world: World) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)

    async def seconds_to_leave() -> float:
        registration = world.registration(registry)
        await until(lambda: directory.instances("a") == (A,))
        began = monotonic()
        await registration.drain()
        await until(lambda: directory.instances("a")[0].state is InstanceState.DRAINING)
        await registration.deregister()
        await until(lambda: directory.instances("a") == ())
        return monotonic() - began

    # The fastest of three, because a busy machine may delay any of them.
    assert min([await seconds_to_leave() for _ in range(3)]) < LEASE_SECONDS


async def test_the_list_outlives_the_registry_and_its_restart(world: World) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    world.registration(registry)
    await until(lambda: directory.instances("a") == (A,))
    changes: list[tuple[Instance, ...]] = []
    directory.subscribe(lambda: changes.append(directory.instances("a")))
    await registry.kill()
    await until(lambda: directory.age_seconds() > 2 * LEASE_SECONDS)
    assert directory.instances("a") == (A,)
    second = await world.registry(registry.address)
    await until(lambda: directory.age_seconds() == 0.0)
    await until(lambda: second.store.entries != ())
    await asyncio.sleep(SETTLE_SECONDS + 0.2)
    assert directory.instances("a") == (A,)
    assert changes == []


async def test_an_instance_that_died_with_the_registry_is_gone_after_the_settling_time(
    world: World,
) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    registration = world.registration(registry)
    await until(lambda: directory.instances("a") == (A,))
    await registry.kill()
    await registration.deregister()
    await world.registry(registry.address)
    await until(lambda: directory.age_seconds() == 0.0)
    assert directory.instances("a") == (A,)
    began = monotonic()
    await until(lambda: directory.instances("a") == ())
    assert monotonic() - began < SETTLE_SECONDS + 4.0


async def test_the_only_instance_stays_for_a_while_when_its_lease_has_run_out(
    world: World,
) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    transport = StoppableTransport()
    world.registration(registry, transport=transport)
    await until(lambda: directory.instances("a") == (A,))
    await asyncio.sleep(SETTLE_SECONDS + 0.2)
    transport.is_stopped = True
    await until(lambda: registry.store.entries == ())
    assert directory.instances("a") == (A,)
    await until(lambda: directory.instances("a") == ())


async def test_both_move_on_to_the_next_registry(world: World) -> None:
    first, second = await world.registry(), await world.registry()
    directory = await world.directory(first, second)
    world.registration(first, second)
    await until(lambda: directory.instances("a") == (A,))
    await first.stop()
    await until(lambda: second.store.entries != ())
    await until(lambda: directory.age_seconds() == 0.0)
    await asyncio.sleep(SETTLE_SECONDS + 0.2)
    assert directory.instances("a") == (A,)


async def test_an_instance_waits_for_the_first_registry_to_come_up(world: World) -> None:
    registry = await world.registry()
    await registry.kill()
    registration = world.registration(registry)
    assert not await registration.registered(0.3)
    await world.registry(registry.address)
    assert await registration.registered(5.0)


async def test_leaving_without_a_registry_takes_a_bounded_time(world: World) -> None:
    registry = await world.registry()
    registration = world.registration(registry)
    assert await registration.registered(5.0)
    await registry.kill()
    began = monotonic()
    await registration.drain()
    await registration.deregister()
    await registration.deregister()
    assert monotonic() - began < 5.0


async def test_a_directory_without_a_registry_says_which_it_tried() -> None:
    directory = Directory(["127.0.0.1:1"], token)
    directory.start()
    with pytest.raises(NoRegistry, match=r"127\.0\.0\.1:1"):
        await directory.first_snapshot(0.2)
    assert directory.age_seconds() == math.inf
    assert directory.instances("a") == ()
    await directory.close()


async def test_a_registry_that_accepts_and_says_nothing_is_left_for_the_next(
    world: World,
) -> None:
    registry = await world.registry()
    with socket.socket() as mute:  # accepts in the kernel and never says a word
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        mute_address = f"127.0.0.1:{mute.getsockname()[1]}"
        directory = Directory([mute_address, registry.address], token, jitter=lambda: 0.0)
        directory.start()
        await directory.first_snapshot(5.0)
        await directory.close()


async def test_a_deregistered_instance_is_gone_at_once_for_a_watcher_that_changes_registry(
    world: World,
) -> None:
    first = await world.registry()
    second = await world.registry(shared=first.store)
    directory = await world.directory(first, second)
    await first.store.register(Instance("a-2", "a", "127.0.0.1:2"))
    registration = world.registration(second)
    await until(lambda: len(directory.instances("a")) == 2)
    await first.kill()
    await registration.deregister()
    await until(lambda: directory.age_seconds() > 0)
    await until(lambda: directory.age_seconds() == 0)
    assert A not in directory.instances("a")


async def test_a_registry_that_falls_silent_is_left_for_the_next(world: World) -> None:
    silent, other = await world.registry(keepalive_seconds=3600.0), await world.registry()
    directory = await world.directory(silent, other)
    world.registration(other)
    await until(lambda: directory.instances("a") == (A,))


def over_unary_calls() -> Transport:
    return UnaryTransport()


def over_a_lane() -> Transport:
    return LaneTransport(partial(token, "gacha_svc"))


TRANSPORTS = (over_unary_calls, over_a_lane)
GACHA = Instance("gacha_svc-1", "gacha_svc", "127.0.0.1:1")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_frozen_registries_cost_an_instance_less_than_its_lease(
    world: World, transport: Callable[[], Transport]
) -> None:
    registry = await world.registry()
    with socket.socket() as mute:  # accepts in the kernel and never says a word
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        registration = Registration(
            GACHA,
            [address, address, registry.address],
            partial(token, "gacha_svc"),
            transport=transport(),
            jitter=lambda: 0.0,
        )
        began = monotonic()
        registration.start()
        assert await registration.registered(10.0)
        # A heartbeat is due after a second, so this much of the lease is left.
        assert monotonic() - began < LEASE - 1.0
        await registration.deregister()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_instance_stays_listed_as_long_as_it_sends_heartbeats(
    world: World, transport: Callable[[], Transport]
) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    registration = Registration(
        GACHA,
        [registry.address],
        partial(token, "gacha_svc"),
        transport=transport(),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    registration.start()
    changes: list[tuple[Instance, ...]] = []
    await until(lambda: directory.instances("gacha_svc") == (GACHA,))
    directory.subscribe(lambda: changes.append(directory.instances("gacha_svc")))
    await asyncio.sleep(3 * LEASE_SECONDS)
    assert changes == []
    await registration.drain()
    await registration.deregister()
    await until(lambda: directory.instances("gacha_svc") == ())
    assert [each.state for (each,) in changes[:1]] == [InstanceState.DRAINING]


async def test_subscribers_hear_of_changes_until_they_unsubscribe(world: World) -> None:
    registry = await world.registry()
    directory = await world.directory(registry)
    heard: list[tuple[Instance, ...]] = []
    unsubscribe = directory.subscribe(lambda: heard.append(directory.instances("a")))
    registration = world.registration(registry)
    await until(lambda: heard == [(A,)])
    unsubscribe()
    await registration.deregister()
    await until(lambda: directory.instances("a") == ())
    assert heard == [(A,)]
