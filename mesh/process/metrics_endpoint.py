"""The metrics registry of a process, and the HTTP endpoint where Prometheus reads it.

Each process has one metrics registry. Its composition root builds it and passes it to the
metrics classes; nothing registers itself. The endpoint serves Prometheus's text format from
its own threads, so a scrape never waits for the event loop. It can serve further pages.

Anybody can connect to it, and its threads share the interpreter with the event loop. So
connections are bounded in number, time and rate, and pages are kept for half a second
(`mesh.process.scrape_pages`). When there are too many connections, the oldest one is closed: an
honest scrape ends within milliseconds. What arrives faster than PER_SECOND waits in the socket,
and is refused by the system once that is full.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import ThreadingWSGIServer

from mesh.logs import LostLogLines
from mesh.process.listening import ListenFailed
from mesh.process.scrape_pages import Page, ScrapePages

MAX_CONNECTIONS = 16
CONNECTION_SECONDS = 10.0
"""Prometheus's own default timeout."""
LOOK_SECONDS = 0.5
"""How often the times of open connections are checked."""
PER_SECOND = 25.0
AT_ONCE = 25
"""How many connections may begin together after a pause."""

log = structlog.get_logger()


def metrics_registry() -> CollectorRegistry:
    """A registry with the metrics of the process: CPU, memory, file descriptors, and log lines
    that were lost."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(LostLogLines())
    return registry


@contextmanager
def metrics_served(
    listen: str | None,
    registry: CollectorRegistry,
    pages: Mapping[str, Page] = MappingProxyType({}),
    *,
    connection_seconds: float = CONNECTION_SECONDS,
) -> Iterator[str]:
    """Serves the registry and `pages`, by path, at `listen` (host:port) within the context.
    Yields the address, host:port with the actual port. If `listen` is None, it serves nothing
    and yields an empty string. A connection lasts for at most `connection_seconds`, and half a
    second more. Raises ListenFailed."""
    if listen is None:
        yield ""
        return
    server = _start(listen, _application(ScrapePages(registry, pages)), connection_seconds)
    try:
        yield f"{listen.rpartition(':')[0]}:{server.server_port}"
    finally:
        server.stop()


def _application(pages: ScrapePages) -> Callable[..., Any]:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, media_type, body = pages.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response(f"{status.value} {status.phrase}", [("Content-Type", media_type)])
        return [body]

    return application


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Does not log scrapes."""


class _Server(ThreadingWSGIServer):
    """Serves a bounded number of connections, each for a bounded time, at a bounded rate."""

    request_queue_size = 4 * MAX_CONNECTIONS
    connection_seconds = CONNECTION_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._begun_at: dict[Any, float] = {}
        self._paid_until = 0.0
        self._is_stopping = False
        self._has_stopped = threading.Event()

    def serve(self) -> None:
        """Serves until `stop`. Wakes up by itself only while a connection is open."""
        while not self._is_stopping:
            self.timeout = LOOK_SECONDS if self._begun_at else None
            self.handle_request()
            self._end_late()
        self._has_stopped.set()

    def stop(self) -> None:
        """Listens no more, and returns when `serve` has. A connection that waits is refused."""
        self._is_stopping = True
        # It ends the wait for the next connection.
        self.socket.shutdown(socket.SHUT_RDWR)
        self._has_stopped.wait()
        self.server_close()

    def get_request(self) -> Any:
        """Accepts the next connection when its turn has come. Nothing else runs in this thread."""
        now = time.monotonic()
        early_seconds = self._paid_until - now - AT_ONCE / PER_SECOND
        if early_seconds > 0:
            time.sleep(early_seconds)
        self._paid_until = max(self._paid_until, now) + 1 / PER_SECOND
        return super().get_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        # The copy is made in one step: other threads change the dictionary.
        for oldest in tuple(self._begun_at)[: 1 - MAX_CONNECTIONS]:
            self._break(oldest)
        self._begun_at[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._begun_at.pop(request, None)
        super().shutdown_request(request)

    def _end_late(self) -> None:
        """Ends the connections that have lasted too long."""
        too_old = time.monotonic() - self.connection_seconds
        for request, begun_at in tuple(self._begun_at.items()):
            if begun_at < too_old:
                self._break(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps the serving thread alive, whatever one connection does."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("fail_scrape", exc_info=error)

    def _break(self, request: Any) -> None:
        """Makes the connection's thread end at its next read or write."""
        self._begun_at.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _start(listen: str, application: Callable[..., Any], connection_seconds: float) -> _Server:
    host, _, port = listen.rpartition(":")
    kind = _Server6 if host.startswith("[") else _Server
    try:
        server = make_server(host.strip("[]"), int(port), application, kind, _SilentHandler)
    except OSError as error:
        raise ListenFailed(
            f"{listen} cannot be listened on ({error.strerror or error}); "
            "set MESH_METRICS_LISTEN to a free host:port, or leave it out."
        ) from error
    server.connection_seconds = connection_seconds
    threading.Thread(target=server.serve, name="metrics", daemon=True).start()
    return server
