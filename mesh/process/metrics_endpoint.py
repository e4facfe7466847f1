"""The metrics registry of a process, and the HTTP endpoint where Prometheus reads it.

Each process has one metrics registry. Its composition root builds it and passes it to the
metrics classes; nothing registers itself. The endpoint serves Prometheus's text format from
its own threads, so a scrape never waits for the event loop. It can serve further pages.
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
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from mesh.logs import LostLogLines
from mesh.process.listening import ListenFailed

Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Returns a page's status, media type and body. It is called in a thread."""


def process_registry() -> CollectorRegistry:
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
) -> Iterator[str]:
    """Serves the registry and `pages`, by path, at `listen` (host:port) within the context.
    Yields the address, host:port with the actual port. If `listen` is None, it serves nothing
    and yields an empty string. Raises ListenFailed."""
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
        """Does not log scrapes."""


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
