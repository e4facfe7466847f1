"""The HTTP server as the process's runtime knows it: a `mesh.process.runtime.Server`.

Any server fits behind it that can stop accepting connections while it serves those that it
has, and then end once the requests under way have.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway_http.describing.pages import Presence
from mesh.process.runtime import Runtime

FIRST_REQUEST_SECONDS = 0.3
"""How long a connection that was the last to be accepted has to send its request."""


class HttpServer(Protocol):
    """Serves the gateway on a listening socket."""

    async def serve(self) -> object:
        """Serves until `leave`. Raises what ended it."""
        ...

    def stop_accepting(self) -> None:
        """Takes no further connection; those that it has are served on. Idempotent."""
        ...

    def leave(self) -> None:
        """Makes `serve` return once the requests under way have ended."""
        ...


class HttpFront:
    """Starts and ends an HTTP server in the order that loses no request."""

    def __init__(
        self, runtime: Runtime, presence: Presence, make_server: Callable[[], HttpServer]
    ) -> None:
        """`make_server` makes the server when it is to serve."""
        self._runtime = runtime
        self._presence = presence
        self._make_server = make_server
        self._server: HttpServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return self._presence.address

    async def start(self) -> None:
        """Begins to serve, in the background of the runtime. Raises what the server raises
        when it is made."""
        self._server = self._make_server()
        self._serving = self._runtime.run_in_background(self._serve, "http")

    async def refuse_new_calls(self) -> None:
        """Lets /readyz say that the gateway is leaving; requests are still answered."""
        self._presence.draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Ends when the requests under way have, or after the grace at the latest."""
        self._presence.draining = True
        if self._server is None or self._serving is None or self._serving.done():
            return
        self._server.stop_accepting()
        await asyncio.sleep(FIRST_REQUEST_SECONDS)
        self._server.leave()
        await asyncio.wait((self._serving,), timeout=grace_seconds)

    async def _serve(self) -> None:
        assert self._server is not None, "it serves after its start"
        await self._server.serve()
        if not self._presence.draining:
            raise RuntimeError("the HTTP server ended by itself")
