"""A server and a transport to it: unary calls or lanes, plain or over TLS."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from mesh.calls import Metadata
from mesh.process.server import Server
from tests.unit.mesh.echo import (
    ECHO,
    Callers,
    Echo,
    echo_server,
)


@dataclass(frozen=True)
class Way:
    """How calls are carried; `tls_directory` is None for plain text."""

    kind: str
    tls_directory: Path | None

    def callers(self) -> Callers:
        return Callers(self.tls_directory)


class Link:
    """A running server in this process, and a transport to it."""

    def __init__(self, way: Way, max_calls_of_a_kind: int = 1024) -> None:
        self.callers = way.callers()
        self.echo = Echo()
        self.max_calls_of_a_kind = max_calls_of_a_kind
        self.server = self._new_server("127.0.0.1:0")
        self.transport = self.callers.transport(way.kind)

    def _new_server(self, listen: str) -> Server:
        return echo_server(
            self.callers.key,
            self.echo,
            listen,
            self.max_calls_of_a_kind,
            self.callers.security,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def call(
        self,
        request: bytes,
        *,
        seconds: float = 5.0,
        method: str = ECHO,
        metadata: Metadata | None = None,
    ) -> bytes:
        metadata = self.callers.metadata if metadata is None else metadata
        return await self.transport.call(self.address, method, request, metadata, seconds)

    def begin(self, request: bytes, seconds: float = 5.0) -> "asyncio.Task[bytes]":
        return asyncio.create_task(self.call(request, seconds=seconds))

    async def restart(self) -> None:
        address = self.address
        await self.server.stop(0)
        self.server = self._new_server(address)
        await self.server.start()

    async def close(self) -> None:
        await self.transport.close()
        await self.server.stop(0)
