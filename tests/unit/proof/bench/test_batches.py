"""Batch sizes, from the processes' metrics to the report."""

from prometheus_client import CollectorRegistry, generate_latest

from mesh.lanes.metrics import LaneMetrics
from mesh.txn.metrics import TransactionMetrics
from proof.bench.meters.batches import BatchSizes, difference, parse_batches

SIZES = BatchSizes(batch_count=4, total=44, at_most={1.0: 1, 8.0: 2, 32.0: 4})


def test_a_mean_and_percentiles_as_bounds_of_buckets() -> None:
    assert SIZES.mean == 11
    assert (SIZES.bound_of(0.25), SIZES.bound_of(0.5), SIZES.bound_of(0.99)) == (1, 8, 32)


def test_where_there_was_no_batch_there_is_no_size() -> None:
    none = SIZES - SIZES
    assert (none.batch_count, none.mean, none.bound_of(0.5)) == (0, 0, 0)


def test_metrics_of_a_process_are_parsed_by_kind() -> None:
    registry = CollectorRegistry()
    lanes, transactions = LaneMetrics(registry), TransactionMetrics(registry)
    transactions.observe_operations(64)
    lanes.observe_calls(3)
    lanes.observe_calls(5)
    found = parse_batches(generate_latest(registry).decode())
    assert found["operations in a transaction"].mean == 64
    calls = found["calls in a lane message"]
    assert (calls.batch_count, calls.total, calls.at_most[4.0], calls.at_most[8.0]) == (2, 8, 1, 2)
    assert found["replies in a lane message"].batch_count == 0


def test_a_window_is_the_difference_of_two_readings() -> None:
    last = {"sent": SIZES + BatchSizes(1, 2, {1.0: 0, 8.0: 1, 32.0: 1}), "new": SIZES}
    assert difference({"sent": SIZES}, last) == {
        "sent": BatchSizes(1, 2, {1.0: 0, 8.0: 1, 32.0: 1}),
        "new": SIZES,
    }
