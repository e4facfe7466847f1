"""Granian in this very process and event loop, on a socket of our own.

Granian by itself binds with SO_REUSEPORT, so that a second server would silently
take half of the first one's connections. Here the socket is bound without it: a
taken port is refused, and port 0 gives a free one that `port` tells.
With a certificate it speaks TLS 1.2 or later, and HTTP/2 to those who offer it.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from mesh.process.listening import ListenFailed
from mesh.tls.material import TlsFiles

BACKLOG_CONNECTIONS = 1024
MAX_CONNECTIONS = 8192
HEADER_READ_TIMEOUT_MS = 60_000
"""Also how long a kept-alive connection may be idle, for it waits for the next head."""
MAX_HEADER_BYTES = 64 * 1024
IS_UNIX_SOCKET = False


def listening_socket(address: str) -> socket.socket:
    """A listening TCP socket that no other process shares; `address` is host:port.

    Raises ListenFailed.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # Connections of a server that has just left must not hold up the next;
            # on Linux this does not let two listeners share a port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG_CONNECTIONS)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ListenFailed(
                f"{address} is taken by another process; set MESH_LISTEN to a free host:port."
            ) from None
        raise ListenFailed(
            f"{address} cannot be listened on ({error.strerror or error}); "
            "set MESH_LISTEN to a host:port of this machine."
        ) from None
    return listener


def handed_socket(descriptor: int) -> socket.socket:
    """The listening socket that this process was started with (docs/adr/0024). Whoever
    handed it down keeps it, so that connections wait in it while nobody serves.

    Raises ListenFailed.
    """
    try:
        listener = socket.socket(fileno=descriptor)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listens = 0
    if not listens:
        raise ListenFailed(
            f"MESH_LISTEN_FD={descriptor} is no listening socket of this process; "
            "unset it to have the gateway listen on MESH_LISTEN itself."
        )
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


class EmbeddedServer(Server):
    """Serves an RSGI application on a listening socket until told to stop.

    It owns the socket from then on. `stop_accepting()` closes it to new connections;
    `leave()` lets the requests under way end, and then `serve()` returns.
    """

    def __init__(
        self, application: Any, listener: socket.socket, tls: TlsFiles | None = None
    ) -> None:
        """Raises ssl.SSLError or OSError when the certificate and its key cannot be read."""
        host, port = listener.getsockname()[:2]
        super().__init__(
            application,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.auto,
            websockets=False,
            backlog=BACKLOG_CONNECTIONS,
            backpressure=MAX_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_TIMEOUT_MS),
            http2_settings=HTTP2Settings(max_headers_size=MAX_HEADER_BYTES),
            ssl_cert=None if tls is None else tls.certificate,
            ssl_key=None if tls is None else tls.key,
            ssl_protocol_min=SSLProtocols.tls12,
            log_enabled=False,
            log_access=False,
        )
        self._listener = listener
        self._inode = os.fstat(listener.fileno()).st_ino

    def _init_shared_socket(self) -> None:
        # Granian would bind here; it takes an open socket as well.
        self._shd = SocketHolder(  # type: ignore[call-arg,assignment]
            self._listener.detach(), IS_UNIX_SOCKET, BACKLOG_CONNECTIONS
        )
        self._ssp = None

    def stop_accepting(self) -> None:
        """Takes no further connection; those that it has are served on. Idempotent.

        Granian can only end everything at once, and would close a connection that it has
        just accepted before its first request is read. So the listening socket is put
        out of its hands: whatever descriptor it has becomes one of a socket that nobody
        calls. Others that hold the real one go on; if nobody does, callers are refused.
        """
        silence(descriptors_of(self._inode))

    def leave(self) -> None:
        """Makes `serve()` return once the requests under way have ended."""
        self.stop()  # type: ignore[no-untyped-call]


def silence(descriptors: Sequence[int]) -> None:
    """Makes each the descriptor of a socket that nobody calls."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        silent.setblocking(False)
        for descriptor in descriptors:
            os.dup2(silent.fileno(), descriptor, inheritable=False)


def descriptors_of(inode: int) -> list[int]:
    """This process's descriptors of the socket with that inode: Granian duplicates it."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode) and status.st_ino == inode:
                found.append(int(name))
    return found
