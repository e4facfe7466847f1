"""The shared parts of a process: metrics, TLS, identity, the directory, and clients of other
services.

The runtime that they are built in closes all of them. Build them inside a running loop.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import structlog

from mesh.calling.client import ServiceClient
from mesh.contract.access import REGISTRY
from mesh.contract.instances import Instance
from mesh.lanes.metrics import LaneMetrics
from mesh.lanes.transport import LaneTransport
from mesh.membership.discovery import Directory, NoRegistry
from mesh.membership.registration import Registration
from mesh.process.config import MemberSettings, MeshSettings
from mesh.process.metrics_endpoint import metrics_registry, metrics_served
from mesh.process.runtime import Entry, Runtime, Server
from mesh.process.scrape_pages import Page
from mesh.tls.certificates import CertificateMetrics
from mesh.tls.security import security_of

log = structlog.get_logger()


class ProcessParts:
    """The parts of every process, including the registry: metrics and TLS."""

    def __init__(self, runtime: Runtime, settings: MeshSettings, service: str) -> None:
        """`service` is the name that the registry lists its instances under. Raises
        CertificateRefused."""
        self.runtime = runtime
        self.service = service
        self._settings = settings
        self.metrics = metrics_registry()
        self.lane_metrics = LaneMetrics(self.metrics)
        self.certificate_metrics = CertificateMetrics(self.metrics)
        self.security = security_of(settings, self.certificate_metrics)
        runtime.push_async_callback(self.security.close)

    async def serve_as(
        self,
        server: Server,
        entry_of: Callable[[Instance], Entry],
        pages: Mapping[str, Page] = MappingProxyType({}),
    ) -> None:
        """Serves until a signal, with an endpoint for metrics and `pages`, then shuts down
        gracefully. `entry_of` makes this instance's registry entry. Raises ListenFailed."""
        metrics_address = self.runtime.enter_context(
            metrics_served(self._settings.metrics_listen, self.metrics, pages)
        )

        def entry_at(address: str) -> Entry:
            instance_id = self._settings.instance_id
            return entry_of(
                Instance(instance_id, self.service, address, metrics_address=metrics_address)
            )

        await self.runtime.serve(server, entry_at)


class Member(ProcessParts):
    """A process that calls services found in the registry."""

    def __init__(self, runtime: Runtime, settings: MemberSettings, service: str) -> None:
        """Starts watching the registry. Raises CertificateRefused; ends the process if the key
        or the instance's id is wrong."""
        self.identity = settings.identity()
        super().__init__(runtime, settings, service)
        self._registries = settings.registry_addresses()
        self._registry_token = self.identity.towards(REGISTRY).token
        self.directory = Directory(self._registries, self._registry_token, security=self.security)
        self.directory.start()
        runtime.push_async_callback(self.directory.close)

    def client(self, service: str) -> ServiceClient:
        """A client of another service."""
        client = ServiceClient(
            service,
            self.directory,
            transport=LaneTransport(
                self.identity.towards(service).token,
                security=self.security,
                observe_calls=self.lane_metrics.observe_calls,
            ),
        )
        self.runtime.push_async_callback(client.close)
        return client

    async def know_others(self, timeout_seconds: float) -> bool:
        """Waits for the registry's first list; returns whether it arrived in time. A process
        also serves without a registry, which may start later."""
        try:
            await self.directory.first_snapshot(timeout_seconds)
        except NoRegistry as error:
            log.warning("miss_registry", error=error.message)
            return False
        return True

    async def serve(self, server: Server) -> None:
        """Serves until a signal, registered as an instance of the service, then shuts down
        gracefully. Raises ListenFailed."""
        await self.serve_as(server, self._registration)

    def _registration(self, instance: Instance) -> Registration:
        return Registration(
            instance,
            self._registries,
            self._registry_token,
            transport=LaneTransport(self._registry_token, security=self.security),
        )
