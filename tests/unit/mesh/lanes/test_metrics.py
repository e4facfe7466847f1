"""The metrics of lanes."""

from prometheus_client import CollectorRegistry

from mesh.lanes.metrics import LaneMetrics


def test_each_side_of_a_lane_has_batches_of_its_own() -> None:
    registry = CollectorRegistry()
    metrics = LaneMetrics(registry)
    for size in (1, 3, 64):
        metrics.observe_calls(size)
    metrics.observe_replies(2)
    assert registry.get_sample_value("lane_batch_calls_sum", {"side": "client"}) == 68
    assert registry.get_sample_value("lane_batch_calls_count", {"side": "client"}) == 3
    at_most_4 = {"side": "client", "le": "4.0"}
    assert registry.get_sample_value("lane_batch_calls_bucket", at_most_4) == 2
    assert registry.get_sample_value("lane_batch_calls_count", {"side": "server"}) == 1
