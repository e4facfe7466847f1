"""The HTTP/1.1 server of the gateway, on a listening socket in this process's event loop.

Guarantees: a stopping server drops no accepted connection. The number of connections and all
their waits are bounded, and connections that do nothing keep no others out (see `Places`). With
TLS, each new connection gets the current certificate. For the guarantees of one connection, see
`HttpConnection`.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from functools import partial

import structlog

from gateway_http.exchange import Application, Headers
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.connection import HttpConnection, Served
from gateway_http.listening.places import Place, Places, Reason, Sites
from gateway_http.listening.sockets import name_of_peer
from gateway_http.listening.tls import CurrentCertificate

ACCEPTS_AT_ONCE = 64
NO_HEADERS = Headers(())
RETRY_SECONDS = 1.0
"""The pause after the system has no file descriptors or memory for a connection."""

log = structlog.get_logger()


def _never() -> bool:
    return False


def _address_alone(peer: str, _headers: Headers) -> Sites:
    """Each address counts for itself: no proxy is trusted."""
    return (peer.rpartition(":")[0],)


def _ignore(_reason: Reason) -> None:
    """Counts nothing."""


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
        sites_of: Callable[[str, Headers], Sites] = _address_alone,
        count_end: Callable[[Reason], None] = _ignore,
        is_leaving: Callable[[], bool] = _never,
        check_seconds: float = 1.0,
    ) -> None:
        """Takes ownership of the listening socket, which must be non-blocking, and of the
        certificate; without a certificate it speaks plain HTTP. For `sites_of` see `Served`, for
        `count_end` `Places`. While `is_leaving` returns true,
        connections close after their next answer. Time limits are checked every `check_seconds`.
        Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self.listener = listener
        self._certificate = certificate
        self._check_seconds = check_seconds
        self._is_leaving = False
        self._handshakes_due = math.inf
        self._is_accepting = False
        self._is_shut = False
        self._handshakes: dict[asyncio.Task[HttpConnection | None], Place] = {}
        self._changed = asyncio.Event()
        self._places = Places(bounds, count_end=count_end)
        self._served = Served(
            application,
            bounds,
            self._places,
            sites_of,
            lambda: self._is_leaving or is_leaving(),
            self._freed,
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
        """Makes `serve()` return when the requests in progress have ended. A TLS handshake and
        then its first request have `leave_seconds` each. Idempotent."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self._handshakes_due = self._loop.time() + self._served.bounds.leave_seconds
        self.stop_accepting()
        for connection in tuple(self._served.connections):
            connection.leave()
        self._changed.set()

    def _check(self) -> None:
        self._served.date = formatdate(usegmt=True)
        now = self._loop.time()
        for connection in tuple(self._served.connections):
            connection.end_if_late(now)
        if now >= self._handshakes_due:
            for place in tuple(self._handshakes.values()):
                self._places.leave(place)
                place.drop()

    def _freed(self) -> None:
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
            if not self._places.has_room:
                self._pause_accepting()  # further connections wait in the socket
                return
            try:
                connection, peer = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("fail_accept", exc_info=error)
                self._pause_accepting()
                self._loop.call_later(RETRY_SECONDS, self._accept_from_now_on)
                return
            place = self._places.take(self._served.sites_of(name_of_peer(peer), NO_HEADERS))
            if place is None:
                connection.close()
                continue
            task = self._loop.create_task(self._connect(connection, place))
            self._handshakes[task] = place
            place.drop = partial(_cancel, task)
            task.add_done_callback(partial(self._connected, connection))

    def _connected(
        self, connection: socket.socket, task: "asyncio.Task[HttpConnection | None]"
    ) -> None:
        place = self._handshakes.pop(task)
        connected = None if task.cancelled() else task.result()
        if connected is None:
            # A task that is cancelled before its first step has given the socket to nobody.
            connection.close()
            self._places.leave(place)
        elif self._is_leaving:
            connected.leave_soon()
        self._freed()

    async def _connect(self, connection: socket.socket, place: Place) -> HttpConnection | None:
        """Makes a connection from a socket, after the TLS handshake. None if that fails; then the
        caller closes the socket."""
        connection.setblocking(False)
        context = None if self._certificate is None else self._certificate.context
        seconds = None if context is None else self._served.bounds.head_seconds
        try:
            _, connected = await self._loop.connect_accepted_socket(
                lambda: HttpConnection(self._served, place),
                connection,
                ssl=context,
                ssl_handshake_timeout=seconds,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            # A failed handshake is the client's fault, so it is no error here.
            log.debug("refuse_handshake", error=str(error))
        except Exception as error:
            log.error("fail_connection", exc_info=error)
        else:
            return connected
        return None


def _cancel(task: "asyncio.Task[HttpConnection | None]") -> None:
    task.cancel()
