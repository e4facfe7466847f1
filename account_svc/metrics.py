"""What account_svc counts of attempts to log in."""

from prometheus_client import CollectorRegistry, Counter

from account_svc.domain.login_attempts import Kind


class LoginMetrics:
    """Attempts that were refused because too many before them had failed, by who waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refused = Counter(
            "account_login_backoffs",
            "Attempts to log in that were refused because too many before them had failed.",
            ["subject"],
            registry=registry,
        )
        self._children = {kind: refused.labels(kind.value) for kind in Kind}

    def count_refusal(self, kind: Kind) -> None:
        """One more subject of that kind had to wait."""
        self._children[kind].inc()
