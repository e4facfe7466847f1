"""Service discovery: the live instances of every service, by the registry's last list.

The list outlives the registry: while no registry can be reached, the last list stays in use.
Registries that share their leases have one list (one list_id), so a watch on another of them
continues at the last revision seen. A registry with another list_id was restarted, and may not
know every instance yet. For `settle_seconds`, which is longer than instances need to register
again, an instance that is missing there is kept. An instance that the new registry has listed
and then dropped is removed at once, unless its service would have no instance left. The reason
for this exception: when all registries or their etcd stand still, all leases expire together,
and the instances register again within a second.

Several registries are tried in turn, starting with a random one, with a backoff of at most a
second. A registry that is silent for longer than a healthy one ever is counts as dead or
frozen; the next one is watched instead.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
import structlog

from mesh.background import BackgroundTask
from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.calls import AUTHORIZATION
from mesh.contract.instances import Instance
from mesh.errors import Unavailable
from mesh.membership.instance_memory import InstanceMemory
from mesh.membership.instance_messages import from_message
from mesh.tls.security import PLAIN, Security
from protos.registry.v1 import registry_pb2

WATCH = "/registry.v1.RegistryService/Watch"
SETTLE_SECONDS = 4.0
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
FIRST_SNAPSHOT_SECONDS = 2.0
SILENCE_SECONDS = 2.5
"""A healthy registry sends a message every second."""

log = structlog.get_logger()


class NoRegistry(Unavailable):
    """No registry has answered yet."""

    REASON = "NO_REGISTRY"


class Directory:
    """Watches the registry; a `mesh.calling.client.InstanceList`. Use it in one event loop only.

    directory = Directory(["127.0.0.1:7000"], identity.towards(REGISTRY).token)
    directory.start()
    await directory.first_snapshot(2.0)
    unsubscribe = directory.subscribe(lambda: print(directory.instances("account_svc")))
    ...
    unsubscribe()
    await directory.close()
    """

    def __init__(
        self,
        registries: Sequence[str],
        token: Callable[[], str],
        *,
        security: Security = PLAIN,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """`registries` are host:port; `token` returns a service token; `jitter` returns numbers
        in [0, 1)."""
        assert registries, "a directory needs a registry"
        self._registries = tuple(registries)
        self._token = token
        self._security = security
        self._clock = clock
        self._jitter = jitter
        self._settle_seconds = settle_seconds
        self._memory = InstanceMemory()
        self._list_id = ""
        self._revision = 0
        self._by_service: dict[str, tuple[Instance, ...]] = {}
        self._subscribers: list[Callable[[], None]] = []
        self._heard = asyncio.Event()
        self._is_current = False
        self._lost_at = -math.inf
        self._watching: BackgroundTask | None = None

    def start(self) -> None:
        """Starts watching, until `close`."""
        assert self._watching is None, "started twice"
        self._watching = BackgroundTask(self._keep_watching(), "directory")

    async def close(self) -> None:
        """Stops watching and keeps the last list."""
        if self._watching is not None:
            await self._watching.end()

    async def first_snapshot(self, timeout_seconds: float) -> None:
        """Waits for the first list. Raises NoRegistry if no registry sends one in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._heard.wait()
        except TimeoutError as error:
            raise NoRegistry(
                f"No registry answered within {timeout_seconds:g} s; "
                f"tried {', '.join(self._registries)}, {self._security.describe()}."
            ) from error

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of one service, ordered by id."""
        return self._by_service.get(service, ())

    def services(self) -> tuple[str, ...]:
        """The services that have an instance, in alphabetical order."""
        return tuple(sorted(self._by_service))

    def age_seconds(self) -> float:
        """The greatest possible age of the list: 0 while a registry is being watched, infinite
        before the first list."""
        return 0.0 if self._is_current else self._clock() - self._lost_at

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Calls `changed`, without arguments and in the event loop, after every change of the
        list. Returns the unsubscribe function; call it once."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    async def _keep_watching(self) -> None:
        turn = int(self._jitter() * len(self._registries))
        failures = 0
        while True:
            registry = self._registries[turn % len(self._registries)]
            try:
                await self._watch(registry)
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                if failures == 0:
                    log.warning(
                        "lose_registry",
                        registry=registry,
                        error=type(error).__name__,
                        detail=error.details() if isinstance(error, grpc.aio.AioRpcError) else "",
                    )
            except Exception as error:  # without the log entry the task would end unnoticed
                log.error("fail_watch", registry=registry, exc_info=error)
            failures = 0 if self._is_current else failures + 1
            self._lose()
            turn += 1
            pause_seconds = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            await asyncio.sleep(pause_seconds * (1 - self._jitter() / 2))

    async def _watch(self, registry: str) -> None:
        """Follows one registry until it fails or falls silent."""
        loop = asyncio.get_running_loop()
        settling: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout(FIRST_SNAPSHOT_SECONDS) as patience:
                async for response in self._responses(registry):
                    patience.reschedule(loop.time() + SILENCE_SECONDS)
                    if not self._is_current:
                        self._is_current = True
                        log.info("watch_registry", registry=registry)
                    if response.list_id != self._list_id:
                        self._memory.reconnect()
                    if settling is None or response.list_id != self._list_id:
                        settling = self._begin_settling(settling)
                    if self._take(response):
                        settling = self._begin_settling(settling)
        finally:
            if settling is not None:
                settling.cancel()

    async def _responses(self, registry: str) -> AsyncIterator[registry_pb2.WatchResponse]:
        async with self._security.channel(registry, CHANNEL_OPTIONS) as channel:
            watch = channel.unary_stream(
                WATCH,
                request_serializer=registry_pb2.WatchRequest.SerializeToString,
                response_deserializer=registry_pb2.WatchResponse.FromString,
            )
            metadata = ((AUTHORIZATION, f"Bearer {self._token()}"),)
            request = registry_pb2.WatchRequest(list_id=self._list_id, revision=self._revision)
            async for response in watch(request, metadata=metadata):
                yield response

    def _take(self, response: registry_pb2.WatchResponse) -> bool:
        """Applies a message. Returns whether an instance that is no longer listed is kept until
        the list has settled."""
        self._list_id, self._revision = response.list_id, response.revision
        if response.unchanged:
            return False
        stays = self._memory.take([from_message(message) for message in response.instances])
        self._publish()
        return stays

    def _begin_settling(self, running: asyncio.TimerHandle | None) -> asyncio.TimerHandle:
        """Starts the timer of `_settle`, or restarts it if it runs. Every new watch starts it,
        because the previous watch may have ended before its timer fired."""
        if running is not None:
            running.cancel()
        return asyncio.get_running_loop().call_later(self._settle_seconds, self._settle)

    def _settle(self) -> None:
        self._memory.settle()
        self._publish()

    def _lose(self) -> None:
        if self._is_current:
            self._is_current = False
            self._lost_at = self._clock()

    def _publish(self) -> None:
        by_service: dict[str, list[Instance]] = {}
        for _, instance in sorted(self._memory.merged().items()):
            by_service.setdefault(instance.service, []).append(instance)
        frozen = {service: tuple(instances) for service, instances in by_service.items()}
        self._heard.set()
        if frozen == self._by_service:
            return
        self._by_service = frozen
        for changed in tuple(self._subscribers):
            changed()
