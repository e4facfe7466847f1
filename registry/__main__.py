"""The registry's composition root: `python -m registry`."""

import asyncio
import random

import structlog

from mesh.contract.instances import Instance
from mesh.contract.methods import methods_of
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys
from mesh.lanes.metrics import LaneMetrics
from mesh.logs import configure_logs
from mesh.process.config import load
from mesh.process.lifecycle import run, serve_until_told_to_stop
from mesh.process.metrics_endpoint import metrics_served, process_registry
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher
from mesh.tls.certificates import CertificateMetrics
from mesh.tls.security import security_of
from protos import DESCRIPTORS
from protos.registry.v1 import registry_pb2
from registry.adapters.etcd.client import EtcdClient
from registry.adapters.etcd.store import EtcdStore
from registry.config import RegistrySettings
from registry.domain.store import Store
from registry.rpc import scrape_targets
from registry.rpc.registry import RegistryRpc
from registry.rpc.xds import service as xds
from registry.rpc.xds.targets import load_targets
from registry.storage.memory import MemoryStore
from registry.use_cases.following import SETTLE_SECONDS, Following
from registry.use_cases.own_entry import OwnEntry

NAME = "registry"
"""What its own entry is listed under."""
SERVICE = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]
log = structlog.get_logger()


class Presence:
    """What the registry takes back when it leaves: its own entry, and then those who watch,
    who go elsewhere."""

    def __init__(self, entry: OwnEntry, store: Store) -> None:
        self._entry = entry
        self._store = store

    async def drain(self) -> None:
        await self._entry.drain()
        self._store.close()

    async def deregister(self) -> None:
        await self._entry.deregister()


def store_of(settings: RegistrySettings) -> Store:
    """In etcd where that is set, and otherwise in this process."""
    members = settings.etcd_members()
    if not members:
        return MemoryStore()
    return EtcdStore(EtcdClient(members, first_turn=random.randrange(len(members))))


async def main(settings: RegistrySettings) -> None:
    store = store_of(settings)
    following = Following(
        store, first_list_seconds=0.0 if settings.etcd_members() else SETTLE_SECONDS
    )
    authenticator = Authenticator(
        player_keys=fixed_keys(), service_keys=settings.service_keys().find
    )
    dispatcher = Dispatcher(methods_of(SERVICE, RegistryRpc(store)), authenticator)
    work = (
        asyncio.create_task(store.run(), name="store"),
        asyncio.create_task(following.run(), name="following"),
    )

    async def is_ready() -> bool:
        return store.has_list() and not any(task.done() for task in work)

    async def register(port: int, metrics_address: str) -> Presence:
        address = f"{settings.listen.rpartition(':')[0]}:{port}"
        entry = Instance(settings.instance_id, NAME, address, metrics_address=metrics_address)
        own = OwnEntry(entry, store)
        own.start()
        return Presence(own, store)

    metrics = process_registry()
    security = security_of(settings, CertificateMetrics(metrics))
    server = Server(
        settings.listen,
        (SERVICE.full_name, xds.SERVICE),
        dispatcher,
        is_ready,
        security=security,
        observe_replies=LaneMetrics(metrics).observe_replies,
        streams=(xds.DiscoveryService(load_targets(DESCRIPTORS.read_bytes()), following),),
        described_in=xds.DESCRIBED_IN,
    )
    pages = {scrape_targets.PATH: scrape_targets.scrape_targets_page(following)}
    try:
        with metrics_served(settings.metrics_listen, metrics, pages) as metrics_address:
            await serve_until_told_to_stop(server, lambda port: register(port, metrics_address))
    finally:
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        await security.close()


def start() -> None:
    settings = load(RegistrySettings)
    configure_logs(settings.log_level, settings.instance_id)
    run(main(settings))


if __name__ == "__main__":
    start()
