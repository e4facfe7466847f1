"""Metrics of transactions: operations per transaction, halvings, restarts and retries."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from mesh.txn.model import MAX_OPERATIONS

BUCKETS = tuple(2**power for power in range(MAX_OPERATIONS.bit_length()))


class TransactionMetrics:
    """Metrics of a coordinator's batches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError if the registry already has them."""
        self.observe_operations: Callable[[int], None] = Histogram(
            "tx_batch_operations",
            "Operations in one transaction that the coordinator ran.",
            buckets=BUCKETS,
            registry=registry,
        ).observe
        self.count_halving: Callable[[], None] = Counter(
            "tx_batch_halvings",
            "Transactions that failed as a whole and were halved.",
            registry=registry,
        ).inc
        self.count_restart: Callable[[], None] = Counter(
            "tx_batch_restarts",
            "Transactions that started over because other operations in them were refused.",
            registry=registry,
        ).inc
        self.count_retry: Callable[[], None] = Counter(
            "tx_operation_retries",
            "Operations that were busy or interrupted, and waited for another transaction.",
            registry=registry,
        ).inc
