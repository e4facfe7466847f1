"""One process of a service: its place in the registry, its server, its background work.

A service's composition root builds what is its own and hands it in here.
"""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from types import MappingProxyType
from typing import Any

import structlog
from google.protobuf.descriptor import ServiceDescriptor

from mesh.calling.client import ServiceClient
from mesh.calling.unary import UnaryTransport
from mesh.contract.instances import Instance
from mesh.contract.methods import methods_of
from mesh.contract.terms import Work
from mesh.identity.auth import Authenticator
from mesh.identity.keys import PublicKeys
from mesh.lanes.metrics import LaneMetrics
from mesh.lanes.transport import LaneTransport
from mesh.membership.discovery import Directory, NoRegistry
from mesh.membership.registration import Registration
from mesh.process.config import ServiceSettings
from mesh.process.lifecycle import serve_until_told_to_stop
from mesh.process.metrics_endpoint import metrics_served, process_registry
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher, Gate
from mesh.serving.metrics import RefusalMetrics
from mesh.tls.certificates import CertificateMetrics
from mesh.tls.security import security_of

WARM_UP_SECONDS = 3.0
"""For how long a newcomer waits for what it needs. Then it serves all the same: it may be
what others wait for."""

Background = Callable[[], Coroutine[Any, Any, None]]
log = structlog.get_logger()


async def _nothing() -> None:
    pass


class Member:
    """A process that serves one service and calls others.

    Use it in one event loop: `client` for what it calls, then `serve`, then `close`.
    """

    def __init__(self, settings: ServiceSettings, service: str) -> None:
        """`service` is the name that the registry lists its instances under."""
        self._settings = settings
        self._service = service
        self._registries = settings.registry_addresses()
        self.metrics = process_registry()
        self._lane_metrics = LaneMetrics(self.metrics)
        self._refusals = RefusalMetrics(self.metrics)
        self._security = security_of(settings, CertificateMetrics(self.metrics))
        self._service_keys = settings.service_keys()
        self.identity = settings.identity(service)
        self.directory = Directory(self._registries, self.identity.token, security=self._security)
        self.directory.start()
        self._clients: list[ServiceClient] = []

    def client(self, service: str) -> ServiceClient:
        """A caller of another service's instances."""
        client = ServiceClient(
            service,
            self.directory,
            transport=LaneTransport(
                self.identity.token,
                security=self._security,
                observe_calls=self._lane_metrics.observe_calls,
            ),
        )
        self._clients.append(client)
        return client

    async def serve(
        self,
        offered: Iterable[tuple[ServiceDescriptor, object]],
        *,
        player_keys: PublicKeys,
        is_ready: Callable[[], Awaitable[bool]],
        background: Sequence[Background],
        opened: Collection[str] = (),
        gates: Mapping[Work, Gate] = MappingProxyType({}),
        warm_up: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Serves each proto service by its implementation until a signal, and runs the
        background work meanwhile. `opened` are full names of methods, of those that may be
        opened, which anybody may call here; `gates` are as `mesh.serving.dispatch.Dispatcher` has
        them. It listens once it knows of the others and `warm_up` has returned."""
        services = list(offered)
        methods = [
            method
            for descriptor, implementation in services
            for method in methods_of(descriptor, implementation, opened)
        ]
        authenticator = Authenticator(player_keys=player_keys, service_keys=self._service_keys.find)
        dispatcher = Dispatcher(
            methods, authenticator, gates=gates, count_refusal=self._refusals.count
        )
        names = [descriptor.full_name for descriptor, _ in services]
        server = Server(
            self._settings.listen,
            names,
            dispatcher,
            is_ready,
            security=self._security,
            observe_replies=self._lane_metrics.observe_replies,
        )
        tasks = [asyncio.create_task(work()) for work in background]
        try:
            await self._warm_up(warm_up)
            with metrics_served(self._settings.metrics_listen, self.metrics) as metrics_address:
                await serve_until_told_to_stop(
                    server, lambda port: self._register(port, metrics_address)
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends every connection to others."""
        for client in self._clients:
            await client.close()
        await self.directory.close()
        await self._security.close()

    async def _warm_up(self, warm_up: Callable[[], Awaitable[None]]) -> None:
        """Whoever listens may be called at once, by those who knew its predecessor at the
        address, and calls others for that."""
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                await self.directory.first_snapshot(WARM_UP_SECONDS)
                await warm_up()
        except (NoRegistry, TimeoutError):
            log.warning("lack_what_is_needed", waited_seconds=WARM_UP_SECONDS)

    async def _register(self, port: int, metrics_address: str) -> Registration:
        host = self._settings.listen.rpartition(":")[0]
        instance = Instance(
            self._settings.instance_id,
            self._service,
            f"{host}:{port}",
            metrics_address=metrics_address,
        )
        registration = Registration(
            instance,
            self._registries,
            self.identity.token,
            transport=UnaryTransport(security=self._security),
        )
        registration.start()
        return registration
