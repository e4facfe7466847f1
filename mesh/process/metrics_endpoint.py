"""What a process counts about itself, and the address where that can be read.

Each process has one registry, built in its composition root and handed to what counts;
nothing registers itself. Histograms are observed once a message or batch, never once a
call (an observation takes 0.7 microseconds). The endpoint serves Prometheus's text format
from threads of its own, so a scrape never waits for the event loop; a process may show
further pages there.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from mesh.contract.terms import Work
from mesh.process.server import ListenFailed

ObserveSize = Callable[[int], None]
Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Gives a page's status, media type and body. It is called in a thread."""

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Up to what a batch may hold, on lanes and in transactions alike."""


def process_registry() -> CollectorRegistry:
    """A registry that has the process's own CPU, memory and file descriptors."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class LaneMetrics:
    """How many calls share a message: CallBatch at the client, ReplyBatch at the server.

    A message that only cancels or says goodbye counts as one of none.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        calls = Histogram(
            "lane_batch_calls",
            "Calls (side client) or replies (side server) in one message on a lane.",
            ["side"],
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self.observe_calls: ObserveSize = calls.labels("client").observe
        self.observe_replies: ObserveSize = calls.labels("server").observe


class RefusalMetrics:
    """How many calls found no room, by their kind of work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        refused = Counter(
            "grpc_server_refused",
            "Calls that were refused before they were begun, for want of room.",
            ["work"],
            registry=registry,
        )
        self._children = {work: refused.labels(work.name.lower()) for work in Work}

    def count(self, work: Work) -> None:
        """One more call of that kind was refused."""
        self._children[work].inc()


class TransactionMetrics:
    """How many operations share a transaction, and how often they had to be tried again."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        self.observe_operations: ObserveSize = Histogram(
            "tx_batch_operations",
            "Operations in one transaction that the coordinator ran.",
            buckets=BATCH_SIZES,
            registry=registry,
        ).observe
        self.count_halving: Callable[[], None] = Counter(
            "tx_batch_halvings",
            "Transactions that failed as a whole and were halved.",
            registry=registry,
        ).inc
        self.count_retry: Callable[[], None] = Counter(
            "tx_operation_retries",
            "Operations that were busy or interrupted, and waited for another transaction.",
            registry=registry,
        ).inc


@contextmanager
def metrics_served(
    listen: str | None,
    registry: CollectorRegistry,
    pages: Mapping[str, Page] = MappingProxyType({}),
) -> Iterator[str]:
    """Serves the registry at `listen`, host:port, while the context lasts, and `pages` by
    their paths; None serves nothing. Gives the address, host:port with the port that it
    has, or an empty string. Raises ListenFailed."""
    if listen is None:
        yield ""
        return
    server = _start(listen, _application(registry, pages))
    try:
        yield f"{listen.rpartition(':')[0]}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _application(registry: CollectorRegistry, pages: Mapping[str, Page]) -> Callable[..., Any]:
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is None or environ["REQUEST_METHOD"] != "GET":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        status, media_type, body = page()
        start_response(f"{status.value} {status.phrase}", [("Content-Type", media_type)])
        return [body]

    return application


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """A scrape is not worth a line."""


class _Server6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


def _start(listen: str, application: Callable[..., Any]) -> WSGIServer:
    host, _, port = listen.rpartition(":")
    kind = _Server6 if host.startswith("[") else ThreadingWSGIServer
    try:
        server = make_server(host.strip("[]"), int(port), application, kind, _SilentHandler)
    except OSError as error:
        raise ListenFailed(
            f"{listen} cannot be listened on ({error.strerror or error}); "
            "set MESH_METRICS_LISTEN to a free host:port, or leave it out."
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
