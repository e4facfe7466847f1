"""The metrics of lanes."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from mesh.lanes.limits import MAX_BATCH_CALLS
from mesh.lanes.metrics import BUCKETS, LaneMetrics


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


def shown(registry: CollectorRegistry) -> set[str]:
    """The exposition without the times of creation and the help."""
    return {
        line
        for line in generate_latest(registry).decode().splitlines()
        if not re.match(r"#|\w+_created", line)
    }


@given(st.lists(st.integers(0, MAX_BATCH_CALLS)))
def test_the_histogram_is_that_of_the_library(sizes: Sequence[int]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = LaneMetrics(ours)
    expected = Histogram("lane_batch_calls", "-", ["side"], buckets=BUCKETS, registry=theirs)
    expected.labels("server")
    for size in sizes:
        metrics.observe_calls(size)
        expected.labels("client").observe(size)
    expected.labels("client")
    assert shown(ours) == shown(theirs)


def test_a_registry_takes_the_metrics_once() -> None:
    registry = CollectorRegistry()
    LaneMetrics(registry)
    with pytest.raises(ValueError, match="lane_batch_calls"):
        LaneMetrics(registry)
