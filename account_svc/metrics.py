"""Metrics of account_svc: refused login attempts, refreshed sessions, and the last comparison with
the payment provider."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from account_svc.domain.clawbacks.differences import DifferenceKind
from account_svc.domain.login_attempts import Kind
from account_svc.domain.sessions import REFRESH_OUTCOMES
from account_svc.storage.reconciliations import EndedReconciliation


class LoginMetrics:
    """Attempts to log in that were refused after too many failures, by the kind of subject."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refused = Counter(
            "account_login_backoffs",
            "Attempts to log in that were refused after too many failures.",
            ["subject"],
            registry=registry,
        )
        self._children = {kind: refused.labels(kind.value) for kind in Kind}

    def count_refusal(self, kind: Kind) -> None:
        """Counts one refusal; `kind` is the subject with the longest wait."""
        self._children[kind].inc()


class SessionMetrics:
    """Requests to refresh a session, by outcome. `refresh_token_reused` counts copied tokens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refreshes = Counter(
            "account_session_refreshes",
            "Requests to refresh a session, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._children = {outcome: refreshes.labels(outcome) for outcome in REFRESH_OUTCOMES}

    def count_refresh(self, outcome: str) -> None:
        """Counts one request; `outcome` is one of REFRESH_OUTCOMES."""
        self._children[outcome].inc()


class ReconciliationMetrics:
    """The last comparison of the provider, the purchases and the ledger, by whichever instance."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        self._differences = Gauge(
            "account_reconciliation_differences",
            "Differences that the last comparison with the payment provider found, by kind.",
            ["kind"],
            registry=registry,
        )
        self._ended_at = Gauge(
            "account_reconciliation_ended_timestamp_seconds",
            "When the last comparison with the payment provider ended; 0 before the first.",
            registry=registry,
        )

    def show(self, last: EndedReconciliation) -> None:
        """Shows the result."""
        for kind in DifferenceKind:
            self._differences.labels(kind.value).set(last.counts.get(kind.value, 0))
        self._ended_at.set(last.ended_at.timestamp())
