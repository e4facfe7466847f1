"""Metrics of a server: its open connections, and the calls that it refused for want of room."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from mesh.contract.method_config import WorkKind


class RefusalMetrics:
    """Counts refused calls by their kind of work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError if the registry already has them."""
        refused = Counter(
            "grpc_server_refused",
            "Calls that were refused before they were begun, for want of room.",
            ["work"],
            registry=registry,
        )
        self._children = {kind: refused.labels(kind.name.lower()) for kind in WorkKind}

    def count(self, kind: WorkKind) -> None:
        """Counts one refused call of that kind."""
        self._children[kind].inc()


class ConnectionMetrics:
    """The open connections of a gRPC port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError if the registry already has them."""
        self._open = Gauge(
            "grpc_server_connections",
            "Open connections to the gRPC port, as of the last second.",
            registry=registry,
        )

    def observe(self, count: int) -> None:
        """That many are open now."""
        self._open.set(count)
