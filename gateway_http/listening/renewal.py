"""HTTPS whose certificate is replaced while it serves, without a connection being lost.

Granian reads its certificate once. So for each new one another server takes over the
listening socket: it alone accepts from then on, what waits in the socket included. The one
before keeps the connections that it has. It says to each, with its next answer, that it
closes, as HTTP/1.1 has it; it leaves when even an idle one has reached its timeout.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog

from gateway_http.exchange import HeaderList
from gateway_http.listening.listener import (
    HEADER_READ_TIMEOUT_MS,
    EmbeddedServer,
    descriptors_of,
    silence,
)
from gateway_http.listening.rsgi import HTTPProtocol, Scope
from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles

LINGER_SECONDS = HEADER_READ_TIMEOUT_MS / 1000 + 10.0
SETTLE_SECONDS = 0.2
"""In which a server that cannot serve has ended."""
RETRY_SECONDS = 1.0

log = structlog.get_logger()
CLOSE = ("connection", "close")


class Door:
    """The application as one server knows it. Once it is `is_retired`, answers say that their
    connection closes."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.is_retired = False

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Passes a request on."""
        if self.is_retired and scope.http_version.startswith("1"):
            protocol = _Closing(protocol)
        await self._application.__rsgi__(scope, protocol)


class _Closing:
    """A protocol whose response closes its connection."""

    def __init__(self, protocol: HTTPProtocol) -> None:
        self._protocol = protocol

    async def __call__(self) -> bytes:
        return await self._protocol()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._protocol)

    async def client_disconnect(self) -> None:
        await self._protocol.client_disconnect()

    def response_empty(self, status: int, headers: HeaderList) -> None:
        self._protocol.response_empty(status, _closing(headers))

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._protocol.response_bytes(status, _closing(headers), body)


def _closing(headers: HeaderList) -> HeaderList:
    return headers if CLOSE in headers else [*headers, CLOSE]


@dataclass(frozen=True, slots=True)
class _Serving:
    server: EmbeddedServer
    door: Door
    task: "asyncio.Task[Any]"


class RenewingServer:
    """An `EmbeddedServer` over TLS, with whatever certificate is the current one."""

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        files: TlsFiles,
        certificates: Certificates,
        *,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """Serves from now on. `certificates` are of these files, and followed while it serves;
        it owns the listening socket. A server that was replaced leaves after
        `linger_seconds`."""
        self._application = application
        self._listener = listener
        self._inode = os.fstat(listener.fileno()).st_ino
        self._files = files
        self._certificates = certificates
        self._linger_seconds = linger_seconds
        self._changed = asyncio.Event()
        self._is_shut = False
        self._replaced: dict[_Serving, asyncio.TimerHandle] = {}
        self._current = self._begin()

    async def serve(self) -> None:
        """Returns after `leave`. Raises what ended the current server."""
        self._certificates.subscribe(self._changed.set)
        self._certificates.start()
        renewing = asyncio.create_task(self._keep_renewing(), name="https-renewal")
        try:
            while not self._current.task.done():
                await asyncio.wait((self._current.task,))
        finally:
            renewing.cancel()
            await self._certificates.close()
            await asyncio.gather(
                renewing, *(each.task for each in self._replaced), return_exceptions=True
            )
            self._listener.close()
        await self._current.task

    def stop_accepting(self) -> None:
        """Takes no further connection; those that there are are served on. Idempotent."""
        self._is_shut = True
        silence(descriptors_of(self._inode))

    def leave(self) -> None:
        """Makes `serve()` return once the requests under way have ended."""
        self._is_shut = True
        for serving, timer in self._replaced.items():
            timer.cancel()
            serving.server.leave()
        self._current.server.leave()

    def _begin(self) -> _Serving:
        door = Door(self._application)
        server = EmbeddedServer(door, self._listener.dup(), self._files)
        return _Serving(server, door, asyncio.create_task(server.serve(), name="https"))

    async def _keep_renewing(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._renew()
            except Exception as error:  # what served goes on
                log.error("fail_https_renewal", exc_info=error)
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _renew(self) -> None:
        held = [each for each in descriptors_of(self._inode) if each != self._listener.fileno()]
        before, after = self._current, self._begin()
        await asyncio.wait((after.task,), timeout=SETTLE_SECONDS)
        if after.task.done():
            await after.task
            raise RuntimeError("the server with the new certificate ended by itself")
        if self._is_shut:
            after.server.leave()
            await after.task
            return
        self._current = after
        silence(held)
        before.door.is_retired = True
        loop = asyncio.get_running_loop()
        self._replaced[before] = loop.call_later(self._linger_seconds, before.server.leave)
        before.task.add_done_callback(lambda _: self._replaced.pop(before, None))
        log.info("renew_https")
