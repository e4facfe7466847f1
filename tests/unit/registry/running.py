"""A registry in the test's own process, behind a real gRPC server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.contract.methods import methods_of
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.service_identity import ServiceIdentity
from mesh.process.server import Server
from mesh.serving.callers import CallerBounds
from mesh.serving.dispatch import Dispatcher
from protos import DESCRIPTORS
from protos.registry.v1 import registry_pb2
from registry.rpc.registry import KEEPALIVE_SECONDS, RegistryRpc
from registry.rpc.xds.service import DiscoveryService
from registry.rpc.xds.targets import load_targets
from registry.storage.memory import MemoryStore
from registry.use_cases.instance_cache import SETTLE_SECONDS, InstanceCache

SERVICE = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]
KEYS = {service: Ed25519PrivateKey.generate() for service in ("a", "b", "gacha_svc")}
"""Only the last may open lanes."""
LEASE_SECONDS = 0.6
FEW_STREAMS = CallerBounds(members=10, strangers=10, address=10)


def token(service: str = "a") -> str:
    """A service token that the registry accepts."""
    return ServiceIdentity(KEYS[service], service).towards("registry").token()


@dataclass
class RunningRegistry:
    """`address` is host:port; a later registry can reuse it."""

    store: MemoryStore
    server: Server
    sweeping: asyncio.Task[None]
    cache: InstanceCache
    follower: asyncio.Task[None]
    address: str

    @classmethod
    async def start(
        cls,
        listen: str = "127.0.0.1:0",
        *,
        lease_seconds: float = LEASE_SECONDS,
        stream_bounds: CallerBounds = FEW_STREAMS,
        first_list_seconds: float = 0.0,
        settle_seconds: float = SETTLE_SECONDS,
        shared: MemoryStore | None = None,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
    ) -> "RunningRegistry":
        """`shared` is the store of another registry, like a store that is shared through etcd."""
        store = shared or MemoryStore(lease_seconds=lease_seconds)
        authenticator = Authenticator(
            "registry",
            player_keys=fixed_keys(),
            service_keys=fixed_service_keys(
                {service: key.public_key() for service, key in KEYS.items()}
            ),
        )
        rpc = RegistryRpc(store, keepalive_seconds=keepalive_seconds)
        dispatcher = Dispatcher(
            methods_of(SERVICE, rpc), authenticator, stream_bounds=stream_bounds
        )
        cache = InstanceCache(
            store, first_list_seconds=first_list_seconds, settle_seconds=settle_seconds
        )
        discovery = DiscoveryService(
            load_targets(DESCRIPTORS.read_bytes()), cache, dispatcher.stream_slots()
        )
        server = Server(
            listen, (SERVICE.full_name,), dispatcher, _always_ready, streams=(discovery,)
        )
        await server.start()
        follower = asyncio.create_task(cache.run())
        sweeping = asyncio.create_task(store.run())
        return cls(store, server, sweeping, cache, follower, f"127.0.0.1:{server.port}")

    async def stop(self) -> None:
        """Stops in order, like a process after SIGTERM."""
        self.store.close()
        await self.kill()

    async def kill(self) -> None:
        """Breaks every connection at once."""
        self.sweeping.cancel()
        self.follower.cancel()
        await self.server.stop(0)


async def _always_ready() -> bool:
    return True


async def until(holds: Callable[[], bool], timeout_seconds: float = 15.0) -> None:
    """Polls until a condition is true. Raises AssertionError after a timeout."""
    give_up_at = monotonic() + timeout_seconds
    while not holds():
        assert monotonic() < give_up_at, f"not within {timeout_seconds} s"
        await asyncio.sleep(0.005)
