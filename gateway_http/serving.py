"""The HTTP server as a `mesh.process.runtime.Server`.

It works with any server that can stop accepting connections while it serves the open ones, and
can stop once the requests in flight have ended.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway_http.describing.pages import Presence
from mesh.background import BackgroundTask
from mesh.process.runtime import Runtime

FIRST_REQUEST_SECONDS = 0.3
"""How long the last accepted connection has to send its request."""


class GracefulServer(Protocol):
    """Serves the gateway on a listening socket."""

    async def serve(self) -> object:
        """Serves until `leave`. Raises the error that stopped it."""
        ...

    def stop_accepting(self) -> None:
        """Accepts no more connections, and serves the open ones on. Idempotent."""
        ...

    def leave(self) -> None:
        """Makes `serve` return once the requests in flight have ended."""
        ...


class HttpFront:
    """Starts and stops an HTTP server without losing a request."""

    def __init__(
        self, runtime: Runtime, presence: Presence, make_server: Callable[[], GracefulServer]
    ) -> None:
        """`start` calls `make_server`."""
        self._runtime = runtime
        self._presence = presence
        self._make_server = make_server
        self._server: GracefulServer | None = None
        self._serving: BackgroundTask | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return self._presence.address

    async def start(self) -> None:
        """Starts to serve, in a background task of the runtime. Raises the errors of
        `make_server`."""
        self._server = self._make_server()
        self._serving = self._runtime.run_in_background(self._serve, "http")

    async def refuse_new_calls(self) -> None:
        """Makes /readyz answer 503; requests are still served."""
        self._presence.draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Returns when the requests in flight have ended, or after the grace period."""
        self._presence.draining = True
        if self._server is None or self._serving is None or self._serving.has_ended:
            return
        self._server.stop_accepting()
        await asyncio.sleep(FIRST_REQUEST_SECONDS)
        self._server.leave()
        await self._serving.finish(grace_seconds)

    async def _serve(self) -> None:
        assert self._server is not None, "it serves after its start"
        await self._server.serve()
