"""envoy.service.discovery.v3.AggregatedDiscoveryService, served without authentication.

Like List, it is open to all, because clients in other languages have no token of the mesh. So
its streams have slots (`mesh.serving.streams`). A stream stores its client's subscriptions and
the versions sent, both bounded. It sends the next response only after its client has answered.
"""

from collections.abc import Sequence
from typing import Any

import grpc
import structlog

from mesh.contract.instances import Instance
from mesh.errors import MeshError
from mesh.serving.contexts import abort, metadata_of
from mesh.serving.streams import StreamSlots
from registry.domain.store import RegistryLeaving
from registry.rpc.xds.resources import Resources, assignments, configuration, is_reachable
from registry.rpc.xds.stream import Stream
from registry.rpc.xds.targets import Target
from registry.use_cases.instance_cache import InstanceCache

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
STREAM = f"/{SERVICE}/StreamAggregatedResources"
DESCRIBED_IN = (
    "envoy/service/discovery/v3/ads.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
)
"""For reflection, so that grpcurl can open a stream."""

STRANGER_SECONDS = 3_600.0
"""Clients open another stream by themselves, and keep what they have meanwhile (gRFC A57)."""

log = structlog.get_logger()


class DiscoveryService(grpc.GenericRpcHandler):
    """Streams the resources of the targets to clients."""

    def __init__(
        self,
        targets: Sequence[Target],
        cache: InstanceCache,
        slots: StreamSlots,
        *,
        stranger_seconds: float = STRANGER_SECONDS,
    ) -> None:
        """`slots` are for the streams, which last `stranger_seconds` for strangers."""
        self._targets = targets
        self._cache = cache
        self._slots = slots
        self._stranger_seconds = stranger_seconds
        self._configuration = configuration(targets)
        self._resources: Resources = self._configuration
        self._omitted: frozenset[Instance] = frozenset()
        self._streams: set[Stream] = set()
        cache.subscribe(self._take)

    def service(self, details: Any) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if details.method != STREAM:
            return None
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, _requests: Any, context: Any) -> None:
        metadata = metadata_of(context)
        try:
            if self._cache.is_over:
                raise RegistryLeaving
            async with self._slots.slot(metadata, self._stranger_seconds):
                stream = Stream(context, self._resources_now)
                self._streams.add(stream)
                try:
                    await stream.run()
                finally:
                    self._streams.discard(stream)
        except MeshError as error:
            log.info("end_discovery", client=context.peer(), reason=error.reason)
            await abort(context, error, metadata)

    def _resources_now(self) -> Resources | None:
        return None if self._cache.is_over else self._resources

    def _take(self) -> None:
        """Builds the resources once for all streams, and wakes each to send its changes."""
        instances = self._cache.instances
        if instances is not None:
            self._log_omitted(instances)
            self._resources = {
                **self._configuration,
                **assignments(self._targets, instances),
            }
        for stream in self._streams:
            stream.wake()

    def _log_omitted(self, entries: Sequence[Instance]) -> None:
        services = {target.service for target in self._targets}
        omitted = frozenset(
            entry for entry in entries if entry.service in services and not is_reachable(entry)
        )
        for entry in omitted - self._omitted:
            log.warning("omit_instance_without_ip", target=entry.id, address=entry.address)
        self._omitted = omitted
