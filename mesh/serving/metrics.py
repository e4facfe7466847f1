"""How many calls a server refused because it had no room."""

from prometheus_client import CollectorRegistry, Counter

from mesh.contract.terms import WorkKind


class RefusalMetrics:
    """Counts refused calls by their kind of work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refused = Counter(
            "grpc_server_refused",
            "Calls that were refused before they were begun, for want of room.",
            ["work"],
            registry=registry,
        )
        self._children = {kind: refused.labels(kind.name.lower()) for kind in WorkKind}

    def count(self, kind: WorkKind) -> None:
        """One more call of that kind was refused."""
        self._children[kind].inc()
