"""What a process counts, as Prometheus reads it."""

import socket
import urllib.error
import urllib.request
from contextlib import closing
from http import HTTPStatus

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mesh.process.metrics import (
    LaneMetrics,
    Page,
    TransactionMetrics,
    metrics_served,
    process_registry,
)
from mesh.process.server import ListenFailed


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_each_side_of_a_lane_has_batches_of_its_own() -> None:
    registry = CollectorRegistry()
    metrics = LaneMetrics(registry)
    for size in (1, 3, 64):
        metrics.observe_calls(size)
    metrics.observe_replies(2)
    assert _value(registry, "lane_batch_calls_sum", side="client") == 68
    assert _value(registry, "lane_batch_calls_count", side="client") == 3
    assert _value(registry, "lane_batch_calls_bucket", side="client", le="4.0") == 2
    assert _value(registry, "lane_batch_calls_count", side="server") == 1


def test_transactions_halvings_and_retries_are_counted_apart() -> None:
    registry = CollectorRegistry()
    metrics = TransactionMetrics(registry)
    metrics.observe_operations(256)
    metrics.count_halving()
    metrics.count_retry()
    metrics.count_retry()
    assert _value(registry, "tx_batch_operations_bucket", le="128.0") == 0
    assert _value(registry, "tx_batch_operations_bucket", le="256.0") == 1
    assert _value(registry, "tx_batch_halvings_total") == 1
    assert _value(registry, "tx_operation_retries_total") == 2


def test_the_endpoint_shows_the_registry_while_it_is_served_and_frees_its_port() -> None:
    registry = process_registry()
    LaneMetrics(registry).observe_calls(5)
    with metrics_served("127.0.0.1:0", registry) as address:
        text = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"lane_batch_calls", "process_cpu_seconds"} <= names
    with closing(socket.create_server(("127.0.0.1", int(address.rpartition(":")[2])))):
        pass


def test_a_page_is_shown_by_its_path_beside_what_is_counted() -> None:
    pages: dict[str, Page] = {"/sd": lambda: (HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no")}
    with metrics_served("[::1]:0", process_registry(), pages) as address:
        assert (
            urllib.request.urlopen(f"http://{address}/metrics", timeout=5).status == HTTPStatus.OK
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/sd", timeout=5)
        with refused.value as answer:
            assert (answer.status, answer.reason) == (503, "Service Unavailable")
            assert answer.headers["Content-Type"] == "text/plain"
            assert answer.read() == b"no"


def test_without_an_address_nothing_is_served() -> None:
    with metrics_served(None, CollectorRegistry()) as address:
        assert address == ""


def test_a_taken_address_is_refused_with_the_setting_to_change() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        refused = pytest.raises(ListenFailed, match=f"{address} .*MESH_METRICS_LISTEN")
        with refused, metrics_served(address, CollectorRegistry()):
            pass
