"""Keeps one instance registered until it leaves.

It sends a heartbeat every second; the lease is three seconds. If a registry does not answer,
the next one is tried, which takes over the lease if the registries share leases. The lease
survives two frozen registries in a row. If a registry does not know the lease, because it was
restarted or the lease expired, the instance registers again. Nothing here raises when no
registry can be reached, and leaving takes a bounded time in every case.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
from google.protobuf.message import Message

from mesh.background import BackgroundTask
from mesh.calling.transport import Transport
from mesh.calling.unary import UnaryTransport
from mesh.calls import AUTHORIZATION
from mesh.contract.instances import Instance, InstanceState
from mesh.errors import MeshError, NotFound
from mesh.membership.instance_messages import STATE_NUMBERS, to_message
from mesh.rounds import until_tick
from protos.registry.v1 import registry_pb2

SERVICE = "/registry.v1.RegistryService/"
HEARTBEAT_SECONDS = 1.0
CALL_TIMEOUT_SECONDS = 0.8
"""Two unanswered calls and an answered one fit between a heartbeat and the lease's end."""
DRAIN_NOTICE_SECONDS = 2.0
LEAVING_ATTEMPTS = 2
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)

log = structlog.get_logger()


class Registration:
    """Keeps one instance listed; a `mesh.process.runtime.Entry`."""

    def __init__(
        self,
        instance: Instance,
        registries: Sequence[str],
        token: Callable[[], str],
        *,
        transport: Transport | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`registries` are host:port; `token` returns a service token; `jitter` returns numbers
        in [0, 1) and spreads instances over the registries."""
        assert registries, "a registration needs a registry"
        self._instance = instance
        self._registries = tuple(registries)
        self._token = token
        self._transport = transport or UnaryTransport()
        self._heartbeat_seconds = heartbeat_seconds
        self._turn = int(jitter() * len(self._registries))
        self._failures = 0
        self._lease_id: str | None = None
        self._listed_as: InstanceState | None = None
        self._progress = asyncio.Condition()
        self._hurry = asyncio.Event()
        self._keeping: BackgroundTask | None = None

    def start(self) -> None:
        """Starts registering and sending heartbeats, until `deregister`."""
        assert self._keeping is None, "started twice"
        self._keeping = BackgroundTask(self._keep(), "registration")

    async def registered(self, timeout_seconds: float) -> bool:
        """Waits until a registry lists the instance. Returns whether one did in time."""
        return await self._until_listed_as(self._instance.state, timeout_seconds)

    async def drain(self) -> None:
        """Registers the instance as DRAINING; waits for two seconds at most."""
        self._instance = replace(self._instance, state=InstanceState.DRAINING)
        self._hurry.set()
        if not await self._until_listed_as(InstanceState.DRAINING, DRAIN_NOTICE_SECONDS):
            log.warning("fail_drain_notice", target=self._instance.id)

    async def deregister(self) -> None:
        """Removes the entry; tries at most two registries, for less than a second each.
        Idempotent."""
        if self._keeping is not None:
            await self._keeping.end()
        lease_id, self._lease_id = self._lease_id, None
        if lease_id is not None:
            await self._end(lease_id)
        await self._transport.close()

    async def _end(self, lease_id: str) -> None:
        for _ in range(min(LEAVING_ATTEMPTS, len(self._registries))):
            try:
                await self._call("Deregister", registry_pb2.DeregisterRequest(lease_id=lease_id))
            except MeshError as error:  # at worst, the lease expires
                log.warning("fail_deregister", target=self._instance.id, reason=error.reason)
                self._turn += 1
            else:
                return

    async def _keep(self) -> None:
        while True:
            try:
                await self._keep_once()
            except MeshError as error:
                pause_seconds = self._pause_after(error)
            except Exception as error:
                log.error("fail_registration", target=self._instance.id, exc_info=error)
                pause_seconds = self._heartbeat_seconds
            else:
                pause_seconds = until_tick(self._heartbeat_seconds)
            await self._pause(pause_seconds)

    async def _keep_once(self) -> None:
        state = self._instance.state
        if self._lease_id is None:
            await self._register()
        else:
            await self._call(
                "Heartbeat",
                registry_pb2.HeartbeatRequest(lease_id=self._lease_id, state=STATE_NUMBERS[state]),
            )
        if self._failures:
            log.info("find_registry", registry=self._registry, target=self._instance.id)
        self._failures = 0
        async with self._progress:
            self._listed_as = state
            self._progress.notify_all()

    async def _register(self) -> None:
        response = registry_pb2.RegisterResponse.FromString(
            await self._call(
                "Register", registry_pb2.RegisterRequest(instance=to_message(self._instance))
            )
        )
        self._lease_id = response.lease_id
        log.info("register_instance", registry=self._registry, target=self._instance.id)

    def _pause_after(self, error: MeshError) -> float:
        if isinstance(error, NotFound) and self._lease_id is not None:
            log.info("lose_lease", registry=self._registry, target=self._instance.id)
            self._lease_id = None
            return 0.0
        if self._failures == 0:
            log.warning("lose_registry", registry=self._registry, reason=error.reason)
        pause_seconds = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        self._turn += 1
        return pause_seconds

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
        self._hurry.clear()

    async def _until_listed_as(self, state: InstanceState, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds), self._progress:
                await self._progress.wait_for(lambda: self._listed_as is state)
        except TimeoutError:
            return False
        return True

    @property
    def _registry(self) -> str:
        return self._registries[self._turn % len(self._registries)]

    async def _call(self, method: str, request: Message) -> bytes:
        return await self._transport.call(
            self._registry,
            SERVICE + method,
            request.SerializeToString(),
            {AUTHORIZATION: f"Bearer {self._token()}"},
            CALL_TIMEOUT_SECONDS,
        )
