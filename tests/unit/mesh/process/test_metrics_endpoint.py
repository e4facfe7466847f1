"""A process's metrics endpoint, as Prometheus reads it."""

import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mesh.lanes.metrics import LaneMetrics
from mesh.process.listening import ListenFailed
from mesh.process.metrics_endpoint import (
    AT_ONCE,
    MAX_CONNECTIONS,
    PER_SECOND,
    metrics_registry,
    metrics_served,
)
from mesh.process.scrape_pages import Page


def test_the_endpoint_shows_the_registry_while_it_is_served_and_frees_its_port() -> None:
    registry = metrics_registry()
    LaneMetrics(registry).observe_calls(5)
    with metrics_served("127.0.0.1:0", registry) as address:
        text = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"lane_batch_calls", "process_cpu_seconds"} <= names
    with closing(socket.create_server(("127.0.0.1", int(address.rpartition(":")[2])))):
        pass


def test_a_page_is_served_by_its_path_beside_the_metrics() -> None:
    pages: dict[str, Page] = {"/sd": lambda: (HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no")}
    with metrics_served("[::1]:0", metrics_registry(), pages) as address:
        assert (
            urllib.request.urlopen(f"http://{address}/metrics", timeout=5).status == HTTPStatus.OK
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/sd", timeout=5)
        with refused.value as answer:
            assert (answer.status, answer.reason) == (503, "Service Unavailable")
            assert answer.headers["Content-Type"] == "text/plain"
            assert answer.read() == b"no"


def test_an_endpoint_that_nobody_reads_does_not_wake_up() -> None:
    with metrics_served("127.0.0.1:0", metrics_registry()):
        (thread,) = [each for each in threading.enumerate() if each.name == "metrics"]
        time.sleep(0.1)
        before = _switches(thread)
        time.sleep(1.2)
        assert _switches(thread) == before


def _switches(thread: threading.Thread) -> int:
    """How often the thread has waited for something."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    return int(fields["voluntary_ctxt_switches"])


def test_without_an_address_nothing_is_served() -> None:
    with metrics_served(None, CollectorRegistry()) as address:
        assert address == ""


def test_a_taken_address_is_refused_with_the_setting_to_change() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        refused = pytest.raises(ListenFailed, match=f"{address} .*MESH_METRICS_LISTEN")
        with refused, metrics_served(address, CollectorRegistry()):
            pass


def test_silent_connections_neither_add_up_nor_keep_others_out() -> None:
    with (
        metrics_served("127.0.0.1:0", metrics_registry()) as address,
        ExitStack() as opened,
    ):
        host, _, port = address.rpartition(":")
        threads_before = threading.active_count()
        silent = [
            opened.enter_context(socket.create_connection((host, int(port)), timeout=5))
            for _ in range(4 * MAX_CONNECTIONS)
        ]
        assert urllib.request.urlopen(f"http://{address}/metrics", timeout=5).status == 200
        assert silent[0].recv(1) == b""  # the oldest one was closed
        assert threading.active_count() - threads_before <= 2 * MAX_CONNECTIONS


def test_a_flood_of_scrapes_is_served_no_faster_than_the_rate() -> None:
    served: list[float] = []
    is_over = threading.Event()

    def scrape_without_a_pause(address: str) -> None:
        while not is_over.is_set():
            urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read()
            served.append(time.monotonic())

    with metrics_served("127.0.0.1:0", metrics_registry()) as address:
        began_at = time.monotonic()
        flood = [
            threading.Thread(target=scrape_without_a_pause, args=(address,)) for _ in range(16)
        ]
        for each in flood:
            each.start()
        while len(served) < AT_ONCE + PER_SECOND:
            assert time.monotonic() - began_at < 30, served
            time.sleep(0.01)
        is_over.set()
        for each in flood:
            each.join()
    seconds = served[-1] - began_at
    assert len(served) <= AT_ONCE + PER_SECOND * seconds + 1


def test_a_connection_that_sends_too_slowly_is_closed() -> None:
    with metrics_served("127.0.0.1:0", metrics_registry(), connection_seconds=0.2) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as slow:
            slow.sendall(b"GET /metrics HT")
            assert slow.recv(1) == b""
