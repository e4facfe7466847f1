"""An operator's connections to the services that take part in a transaction.

An operator finds the services in the registry, authenticates with an operator's token, and
calls the methods that the services use among themselves. Nothing here touches a database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.gachactl.target import running_mesh
from deploy.local.layout import Layout
from deploy.local.mesh_client import client_of
from deploy.local.secrets import operator
from mesh.calling.client import ServiceClient
from mesh.calling.unary import UnaryTransport
from mesh.contract.access import REGISTRY
from mesh.membership.discovery import Directory
from mesh.tls.security import Security
from mesh.txn.clients import RemoteBranches, RemoteCoordinator

REGISTRY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a mesh: its registries (host:port), the operators' key file, and the
    security of connections."""

    registries: tuple[str, ...]
    key_file: Path
    security: Security


@dataclass(frozen=True, slots=True)
class Services:
    """The services' names in the registry. The branch of `second` decides, so it is committed
    before that of `first`."""

    first: str
    second: str
    coordinator: str


PULLS = Services(first="account_svc", second="gacha_svc", coordinator="gacha_svc")
"""The services of a pull, the only kind of transaction."""


@dataclass(frozen=True, slots=True)
class Side:
    """A participant and the name of its service."""

    service: str
    branches: RemoteBranches


@dataclass(frozen=True, slots=True)
class Sides:
    """Both participants and the decision log."""

    first: Side
    second: Side
    coordinator: RemoteCoordinator

    @property
    def both(self) -> tuple[Side, Side]:
        return self.first, self.second


def access_to(layout: Layout) -> Access:
    """How to reach the mesh that runs in a folder. Raises LocalRunError."""
    mesh = running_mesh(layout)
    return Access(tuple(mesh["registries"]), layout.admin_key, client_of(mesh).security)


@asynccontextmanager
async def connect(access: Access, services: Services) -> AsyncIterator[Sides]:
    """Connects until the context ends.

    Raises LocalRunError when the key cannot be read, and NoRegistry when no registry
    answers.
    """
    identity = operator.identity(access.key_file)
    async with AsyncExitStack() as stack:
        registry_token = identity.towards(REGISTRY).token
        directory = Directory(access.registries, registry_token, security=access.security)
        stack.push_async_callback(directory.close)
        directory.start()
        await directory.first_snapshot(REGISTRY_SECONDS)

        def client(service: str) -> ServiceClient:
            made = ServiceClient(
                service, directory, transport=UnaryTransport(security=access.security)
            )
            stack.push_async_callback(made.close)
            return made

        first, second = (
            Side(service, RemoteBranches(client(service), identity.towards(service).metadata))
            for service in (services.first, services.second)
        )
        to_coordinator = identity.towards(services.coordinator)
        coordinator = RemoteCoordinator(client(services.coordinator), to_coordinator.metadata)
        yield Sides(first, second, coordinator)
