"""The services that take part in a transaction, as an operator reaches them.

What an operator asks is what the services ask of one another: the same methods,
found through the registry, under a service token in the operator's name. Nothing
here touches a database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import mesh_file, run_lock
from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from mesh.auth import ServiceIdentity, load_private_key
from mesh.client import ServiceClient
from mesh.discovery import Directory
from mesh.txn.clients import RemoteBranches, RemoteCoordinator

OPERATOR = "operator"
REGISTRY_SECONDS = 3.0


class NothingRuns(LocalRunError):
    """There is no mesh to ask."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the registries are (host:port), and the file of the services' key."""

    registries: tuple[str, ...]
    key_file: Path


@dataclass(frozen=True, slots=True)
class Services:
    """The services' names in the registry; `first` is committed before `second`."""

    first: str
    second: str
    coordinator: str


@dataclass(frozen=True, slots=True)
class Side:
    """A participant, by the name of its service."""

    service: str
    branches: RemoteBranches


@dataclass(frozen=True, slots=True)
class Sides:
    """Both participants, in the order of their commits, and the decision log."""

    first: Side
    second: Side
    coordinator: RemoteCoordinator

    @property
    def both(self) -> tuple[Side, Side]:
        return self.first, self.second


def access_to(layout: Layout) -> Access:
    """The way into the mesh that runs in a folder. Raises NothingRuns."""
    mesh = mesh_file.read(layout.mesh)
    if mesh is None or run_lock.holder_pid(layout.lock) is None:
        raise NothingRuns(f"Nothing runs in {layout.folder}: start it with `make up`.")
    return Access(tuple(mesh["registries"]), layout.secrets / "mesh_service_key.pem")


@asynccontextmanager
async def reach(access: Access, services: Services) -> AsyncIterator[Sides]:
    """Connects for as long as the context lasts.

    Raises LocalRunError when the key cannot be read, and NoRegistry when no registry
    answers.
    """
    try:
        key = load_private_key(access.key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalRunError(f"The key in {access.key_file} cannot be used: {error}.") from error
    identity = ServiceIdentity(key, OPERATOR)
    async with AsyncExitStack() as open_ones:
        directory = Directory(access.registries, identity.token)
        open_ones.push_async_callback(directory.close)
        directory.start()
        await directory.first_snapshot(REGISTRY_SECONDS)

        def client(service: str) -> ServiceClient:
            made = ServiceClient(service, directory)
            open_ones.push_async_callback(made.close)
            return made

        first, second = (
            Side(service, RemoteBranches(client(service), identity.metadata))
            for service in (services.first, services.second)
        )
        coordinator = RemoteCoordinator(client(services.coordinator), identity.metadata)
        yield Sides(first, second, coordinator)
