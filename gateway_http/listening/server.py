"""The HTTP/1.1 server of the gateway, on a listening socket in this process's event loop.

Guarantees: a stopping server drops no accepted connection. The number of connections and all
their waits are bounded. With TLS, each new connection gets the current certificate. For the
guarantees of one connection, see `HttpConnection`.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate

import structlog

from gateway_http.listening.bounds import Bounds
from gateway_http.listening.connection import Application, HttpConnection, Served
from gateway_http.listening.tls import CurrentCertificate

ACCEPTS_AT_ONCE = 64
RETRY_SECONDS = 1.0
"""The pause after the system has no file descriptors or memory for a connection."""

log = structlog.get_logger()


def _never() -> bool:
    return False


class HttpServer:
    """Serves an application until `leave` is called.

    `stop_accepting()` accepts no further connections, and serves the existing ones. `leave()`
    closes idle connections and lets requests in progress end; then `serve()` returns.
    """

    def __init__(
        self,
        application: Application,
        listener: socket.socket,
        *,
        bounds: Bounds,
        certificate: CurrentCertificate | None = None,
        is_leaving: Callable[[], bool] = _never,
        check_seconds: float = 1.0,
    ) -> None:
        """Takes ownership of the listening socket, which must be non-blocking, and of the
        certificate; without a certificate it speaks plain HTTP. While `is_leaving` returns true,
        connections close after their next answer. Time limits are checked every `check_seconds`.
        Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self.listener = listener
        self._certificate = certificate
        self._check_seconds = check_seconds
        self._is_leaving = False
        self._is_accepting = False
        self._is_shut = False
        self._handshakes: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._served = Served(
            application,
            bounds,
            lambda: self._is_leaving or is_leaving(),
            self._ended,
            self._loop,
        )

    async def serve(self) -> None:
        """Serves; returns after `leave`, when the last connection has ended."""
        self._accept_from_now_on()
        if self._certificate is not None:
            self._certificate.start()
        try:
            while not self._is_leaving or self.connection_count > 0:
                self._check()
                self._changed.clear()
                timer = self._loop.call_later(self._check_seconds, self._changed.set)
                await self._changed.wait()
                timer.cancel()
        finally:
            self.stop_accepting()
            if self._certificate is not None:
                await self._certificate.close()

    def stop_accepting(self) -> None:
        """Closes the listening socket. If no other process holds it, new connections are refused.
        Idempotent."""
        if not self._is_shut:
            self._is_shut = True
            self._pause_accepting()
            self.listener.close()

    def leave(self) -> None:
        """Makes `serve()` return when the requests in progress have ended. Idempotent."""
        self._is_leaving = True
        self.stop_accepting()
        for task in self._handshakes:
            task.cancel()
        for connection in tuple(self._served.connections):
            connection.leave()
        self._changed.set()

    def _check(self) -> None:
        self._served.date = formatdate(usegmt=True)
        now = self._loop.time()
        for connection in tuple(self._served.connections):
            connection.end_if_late(now)

    def _ended(self) -> None:
        if self._is_leaving:
            self._changed.set()
        self._accept_from_now_on()

    @property
    def connections(self) -> frozenset[HttpConnection]:
        """The open connections; those in a TLS handshake are not among them."""
        return frozenset(self._served.connections)

    @property
    def connection_count(self) -> int:
        """The number of connections, including those in their TLS handshake."""
        return len(self._served.connections) + len(self._handshakes)

    def _accept_from_now_on(self) -> None:
        if not (self._is_accepting or self._is_shut):
            self._is_accepting = True
            self._loop.add_reader(self.listener, self._accept)

    def _pause_accepting(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self.listener)

    def _accept(self) -> None:
        """Accepts the waiting connections, in one step of the event loop. So a connection is never
        half accepted."""
        for _ in range(ACCEPTS_AT_ONCE):
            if self.connection_count >= self._served.bounds.max_connections:
                self._pause_accepting()  # further connections wait in the socket until one ends
                return
            try:
                connection, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("fail_accept", exc_info=error)
                self._pause_accepting()
                self._loop.call_later(RETRY_SECONDS, self._accept_from_now_on)
                return
            task = self._loop.create_task(self._connect(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: "asyncio.Task[None]") -> None:
        self._handshakes.discard(task)
        self._ended()

    async def _connect(self, connection: socket.socket) -> None:
        """Makes a connection from a socket, after the TLS handshake."""
        connection.setblocking(False)
        context = None if self._certificate is None else self._certificate.context
        seconds = None if context is None else self._served.bounds.head_seconds
        try:
            await self._loop.connect_accepted_socket(
                lambda: HttpConnection(self._served),
                connection,
                ssl=context,
                ssl_handshake_timeout=seconds,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            # A failed handshake is the client's fault, so it is no error here.
            log.debug("refuse_handshake", error=str(error))
            connection.close()
        except Exception as error:
            log.error("fail_connection", exc_info=error)
            connection.close()
