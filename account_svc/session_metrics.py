"""What account_svc counts of sessions."""

from prometheus_client import CollectorRegistry, Counter

OUTCOMES = (
    "rotated",
    "repeated",
    "refresh_token_invalid",
    "session_ended",
    "refresh_token_reused",
)


class SessionMetrics:
    """What requests to refresh came to. `refresh_token_reused` counts tokens that somebody
    holds a copy of."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refreshes = Counter(
            "account_session_refreshes",
            "Requests to refresh a session, by what they came to.",
            ["outcome"],
            registry=registry,
        )
        self._children = {outcome: refreshes.labels(outcome) for outcome in OUTCOMES}

    def count_refresh(self, outcome: str) -> None:
        """One more request came to that, which is one of OUTCOMES."""
        self._children[outcome].inc()
