"""The metrics of transactions."""

from prometheus_client import CollectorRegistry

from mesh.txn.metrics import TransactionMetrics


def test_transactions_halvings_and_retries_are_counted_apart() -> None:
    registry = CollectorRegistry()
    metrics = TransactionMetrics(registry)
    metrics.observe_operations(256)
    metrics.count_halving()
    metrics.count_retry()
    metrics.count_retry()
    assert registry.get_sample_value("tx_batch_operations_bucket", {"le": "128.0"}) == 0
    assert registry.get_sample_value("tx_batch_operations_bucket", {"le": "256.0"}) == 1
    assert registry.get_sample_value("tx_batch_halvings_total") == 1
    assert registry.get_sample_value("tx_operation_retries_total") == 2
