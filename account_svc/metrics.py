"""What account_svc counts of its own: logins that had to wait, and refreshed sessions."""

from prometheus_client import CollectorRegistry, Counter

from account_svc.domain.login_attempts import Kind
from account_svc.domain.sessions import REFRESH_OUTCOMES


class LoginMetrics:
    """Attempts to log in that were refused because too many before them had failed, by whom
    the wait is held against."""

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
        """Counts one refusal, by the subject that had to wait longest."""
        self._children[kind].inc()


class SessionMetrics:
    """Requests to refresh a session, by their outcome. `refresh_token_reused` counts tokens
    of which somebody holds a copy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refreshes = Counter(
            "account_session_refreshes",
            "Requests to refresh a session, by what they came to.",
            ["outcome"],
            registry=registry,
        )
        self._children = {outcome: refreshes.labels(outcome) for outcome in REFRESH_OUTCOMES}

    def count_refresh(self, outcome: str) -> None:
        """Counts one request; `outcome` is one of REFRESH_OUTCOMES."""
        self._children[outcome].inc()
