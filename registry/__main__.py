"""The registry's composition root: `python -m registry`."""

import asyncio

import structlog

from mesh.auth import Authenticator
from mesh.config import load
from mesh.dispatch import Dispatcher
from mesh.keys import fixed_keys
from mesh.logs import configure_logs
from mesh.methods import methods_of
from mesh.metrics import LaneMetrics, metrics_served, process_registry
from mesh.process import run, serve_until_told_to_stop
from mesh.server import Server
from protos.registry.v1 import registry_pb2
from registry.config import RegistrySettings
from registry.rpc import RegistryRpc
from registry.storage import MemoryStore

SERVICE = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]
log = structlog.get_logger()


class Watchers:
    """What the registry takes back when it leaves: its watchers, which go elsewhere."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def drain(self) -> None:
        self._store.close()

    async def deregister(self) -> None:
        """The registry is on no list."""


async def main(settings: RegistrySettings) -> None:
    store = MemoryStore()
    authenticator = Authenticator(
        player_keys=fixed_keys(), service_keys=settings.service_keys().find
    )
    dispatcher = Dispatcher(methods_of(SERVICE, RegistryRpc(store)), authenticator)
    sweeping = asyncio.create_task(store.run(), name="sweep")

    async def is_ready() -> bool:
        return not sweeping.done()

    async def register(port: int) -> Watchers:
        return Watchers(store)

    metrics = process_registry()
    server = Server(
        settings.listen,
        (SERVICE.full_name,),
        dispatcher,
        is_ready,
        observe_replies=LaneMetrics(metrics).observe_replies,
    )
    try:
        with metrics_served(settings.metrics_listen, metrics):
            await serve_until_told_to_stop(server, register)
    finally:
        sweeping.cancel()


def start() -> None:
    settings = load(RegistrySettings)
    configure_logs(settings.log_level, settings.instance_id)
    run(main(settings))


if __name__ == "__main__":
    start()
