"""A gRPC server of the mesh: unary and streaming methods, lanes, health, reflection, drain.

Health says SERVING while the server's dependencies answer, and NOT_SERVING as soon as the
shutdown starts. A process has one port; SO_REUSEPORT is off, so two servers cannot share it
unnoticed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
import structlog

from mesh.background import BackgroundTask
from mesh.calls import Metadata
from mesh.contract.methods import Method
from mesh.lanes.limits import MAX_CALLS_BYTES, MAX_LANES
from mesh.lanes.service import LaneService
from mesh.process import health
from mesh.process.listening import ListenFailed
from mesh.process.open_files import connections_allowed
from mesh.process.reflection import Reflection
from mesh.rounds import pause
from mesh.serving.connections import PortConnections
from mesh.serving.contexts import deadline_of
from mesh.serving.dispatch import Dispatcher
from mesh.serving.port_bounds import PORT_BOUNDS, PortBounds
from mesh.serving.transfers import Transfers
from mesh.tls.security import PLAIN, Security

HEALTH_CHECK_SECONDS = 1.0

Check = Callable[[], Awaitable[bool]]
log = structlog.get_logger()

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_CALLS_BYTES),
    # Else gRPC measures the bandwidth and lets each connection send 4 MiB that nobody has read.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """Serves a dispatcher's methods on one address; a `mesh.process.runtime.Server`."""

    def __init__(
        self,
        listen: str,
        services: Iterable[str],
        dispatcher: Dispatcher,
        is_ready: Check,
        *,
        security: Security = PLAIN,
        observe_replies: Callable[[int], None] = lambda count: None,
        observe_connections: Callable[[int], None] = lambda count: None,
        streams: Sequence[grpc.GenericRpcHandler] = (),
        described_in: Sequence[str] = (),
        max_lanes: int = MAX_LANES,
        bounds: PortBounds = PORT_BOUNDS,
    ) -> None:
        """`services` are full proto names, for health and reflection. `is_ready` is called
        every second and returns whether all dependencies answer. `observe_replies` gets the
        number of replies in each message on a lane, `observe_connections` the number of open
        connections, within a second of each change.

        `streams` serve methods that the dispatcher does not support, such as bidirectional
        ones; they enforce bounds and access themselves, as lanes do. `described_in` names the
        third-party protos of these methods, for reflection."""
        self._listen = listen
        self._services = tuple(services)
        self._dispatcher = dispatcher
        self._is_ready = is_ready
        self._security = security
        self._lanes = LaneService(dispatcher, max_lanes=max_lanes, observe_replies=observe_replies)
        self._observe_connections = observe_connections
        self._streams = tuple(streams)
        self._described_in = tuple(described_in)
        self._bounds = bounds
        self._transfers = Transfers(dispatcher.is_member, bounds.transfers)
        self._health_transfers = Transfers(dispatcher.is_member, bounds.health)
        self._health = health.Health(dispatcher.stream_slots())
        self._max_connections = connections_allowed(bounds.max_connections)
        options = bounds.options(self._max_connections)
        self._server = grpc.aio.server(options=(*_OPTIONS, *options))
        self._checking: BackgroundTask | None = None
        self._bounding: BackgroundTask | None = None
        self.port = 0

    async def start(self) -> None:
        """Starts serving. Raises ListenFailed if the address is in use."""
        self._server.add_generic_rpc_handlers(
            (_Handlers(self._dispatcher, self._transfers), self._lanes, *self._streams)
        )
        described = (*self._services, health.SERVICE)
        reflection = Reflection(described, self._dispatcher.stream_slots(), self._described_in)
        self._server.add_generic_rpc_handlers(
            (self._health.handler(self._health_transfers), *reflection.handlers())
        )
        try:
            self.port = self._security.add_port(self._server, self._listen)
        except RuntimeError as error:
            raise ListenFailed(
                f"{self._listen} cannot be listened on: another process may have it. "
                "Set MESH_LISTEN to a free host:port."
            ) from error
        await self._check_health()
        await self._server.start()
        self._checking = BackgroundTask(self._keep_checking(), "health")
        connections = PortConnections(
            self.port,
            self._bounds.max_address_connections,
            self._max_connections,
            observe=self._observe_connections,
        )
        bounding = connections.keep_bounding(self._late_peers, self._lanes.peers)
        self._bounding = BackgroundTask(bounding, "port-connections")

    @property
    def address(self) -> str:
        """host:port, with the actual port once it has started."""
        return f"{self._listen.rpartition(':')[0]}:{self.port}"

    async def refuse_new_calls(self) -> None:
        """Makes health report NOT_SERVING for good; calls are still answered."""
        if self._checking is not None:
            self._checking.cancel()
        self._health.leave()

    async def stop(self, grace_seconds: float) -> None:
        """Returns when the running calls have ended, or after the grace period."""
        for task in (self._checking, self._bounding):
            if task is not None:
                task.cancel()
        self._lanes.drain()
        self._dispatcher.end_streams()
        await self._server.stop(grace_seconds)

    def _late_peers(self) -> list[str]:
        return [*self._transfers.late_peers(), *self._health_transfers.late_peers()]

    async def _keep_checking(self) -> None:
        while True:
            await pause(HEALTH_CHECK_SECONDS)
            await self._check_health()

    async def _check_health(self) -> None:
        try:
            ready = await self._is_ready()
        except Exception as error:  # noqa: BLE001 (any failure means: not ready)
            log.warning("fail_health_check", error=type(error).__name__)
            ready = False
        for service in ("", *self._services):
            self._health.set(service, is_serving=ready)


class _Handlers(grpc.GenericRpcHandler):
    """Passes unary and server-streaming gRPC calls to the dispatcher."""

    def __init__(self, dispatcher: Dispatcher, transfers: Transfers) -> None:
        self._dispatcher = dispatcher
        self._transfers = transfers

    def service(self, details: Any) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        method = self._dispatcher.find(details.method)
        if method is None:
            return None
        if method.streams:
            return self._transfers.streaming(self._streaming(method), bytes, bytes)
        return self._transfers.unary(self._unary(method), bytes, bytes)

    def _unary(self, method: Method) -> Callable[[bytes, Any, Metadata], Awaitable[bytes]]:
        async def unary(request: bytes, context: Any, metadata: Metadata) -> bytes:
            deadline = deadline_of(context, method.config)
            return await self._dispatcher.handle(method.path, request, metadata, deadline)

        return unary

    def _streaming(self, method: Method) -> Callable[[bytes, Any, Metadata], AsyncIterator[bytes]]:
        def streaming(request: bytes, context: Any, metadata: Metadata) -> AsyncIterator[bytes]:
            deadline = deadline_of(context, method.config)
            return self._dispatcher.stream(method.path, request, metadata, deadline)

        return streaming
