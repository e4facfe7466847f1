"""The registry's composition root: `python -m registry [serve | check]`."""

import random

from mesh.contract.access import REGISTRY
from mesh.contract.methods import methods_of
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys
from mesh.logs import configure_logs
from mesh.process.arguments import CHECK, read_command
from mesh.process.member import ProcessParts
from mesh.process.runtime import Runtime, run
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher
from mesh.serving.metrics import ConnectionMetrics
from mesh.settings_loading import load
from protos import DESCRIPTORS
from protos.registry.v1 import registry_pb2
from registry.adapters.etcd.client import EtcdClient
from registry.adapters.etcd.store import EtcdStore
from registry.adapters.etcd.tokens import User
from registry.config import RegistrySettings
from registry.domain.store import Store
from registry.rpc import scrape_targets
from registry.rpc.registry import RegistryRpc
from registry.rpc.xds import service as xds
from registry.rpc.xds.targets import load_targets
from registry.storage.memory import MemoryStore
from registry.use_cases.instance_cache import SETTLE_SECONDS, InstanceCache
from registry.use_cases.own_entry import OwnEntry

SERVICE = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]


class RegistryEntry:
    """The registry's own entry. When it drains, the watchers of the list are also sent to other
    registries."""

    def __init__(self, entry: OwnEntry, store: Store) -> None:
        self._entry = entry
        self._store = store

    def start(self) -> None:
        self._entry.start()

    async def drain(self) -> None:
        await self._entry.drain()
        self._store.close()

    async def deregister(self) -> None:
        await self._entry.deregister()


def store_of(settings: RegistrySettings) -> Store:
    """The store: in etcd if that is configured, otherwise in this process."""
    members = settings.etcd_members()
    if not members:
        return MemoryStore()
    user = None
    if settings.etcd_user is not None:
        assert settings.etcd_password is not None, "the settings have checked it"
        user = User(settings.etcd_user, settings.etcd_password.get_secret_value())
    first_turn = random.randrange(len(members))
    return EtcdStore(
        EtcdClient(members, authority=settings.etcd_ca, user=user, first_turn=first_turn)
    )


async def serve(settings: RegistrySettings) -> None:
    """Builds the registry and serves until a signal."""
    async with Runtime() as runtime:
        parts = ProcessParts(runtime, settings, REGISTRY)
        store = store_of(settings)
        cache = InstanceCache(
            store, first_list_seconds=0.0 if settings.etcd_members() else SETTLE_SECONDS
        )
        server = _server(settings, parts, store, cache)
        runtime.run_in_background(store.run, "store")
        runtime.run_in_background(cache.run, "instance-cache")
        await parts.serve_as(
            server,
            lambda instance: RegistryEntry(OwnEntry(instance, store), store),
            {scrape_targets.PATH: scrape_targets.scrape_targets_page(cache)},
        )


def _server(
    settings: RegistrySettings, parts: ProcessParts, store: Store, cache: InstanceCache
) -> Server:
    authenticator = Authenticator(
        REGISTRY, player_keys=fixed_keys(), service_keys=settings.service_keys().find
    )

    dispatcher = Dispatcher(methods_of(SERVICE, RegistryRpc(store)), authenticator)
    targets = load_targets(DESCRIPTORS.read_bytes())

    async def is_ready() -> bool:
        return store.has_list()

    return Server(
        settings.listen,
        (SERVICE.full_name, xds.SERVICE),
        dispatcher,
        is_ready,
        security=parts.security,
        observe_replies=parts.lane_metrics.observe_replies,
        observe_connections=ConnectionMetrics(parts.metrics).observe,
        streams=(xds.DiscoveryService(targets, cache, dispatcher.stream_slots()),),
        described_in=xds.DESCRIBED_IN,
    )


def main() -> None:
    """Reads the arguments and the settings, and runs the process until it exits."""
    command = read_command("registry")
    settings = load(RegistrySettings)
    if command == CHECK:
        return
    configure_logs(settings.log_level, settings.instance_id)
    run(serve(settings))


if __name__ == "__main__":
    main()
