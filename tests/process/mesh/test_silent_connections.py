"""A server with TLS outlives strangers who connect, say nothing and leave."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.secrets.certificates import Authority, make_authority, now_utc
from tests.process.mesh.echo_process import LOOK_SECONDS, EchoProcess
from tests.unit.mesh.echo import ECHO, Callers

ROUND_COUNT = 10
CONNECTION_COUNT = 400
"""Below 1,024, the usual limit of open files, at each end."""
SILENT_SECONDS = 0.3
"""Long enough for the server to start all handshakes."""
WAIT_SECONDS = 5.0


@dataclass
class Served:
    """The server, its caller, and the CA of both."""

    authority: Authority
    directory: Path
    callers: Callers
    server: EchoProcess

    def renew(self) -> str:
        """Replaces the server's certificate, which the server notices after LOOK_SECONDS;
        returns the new one as PEM."""
        files = self.authority.issue(self.directory, "gacha_svc", ["127.0.0.1"], now_utc())
        return files.certificate.read_text()

    async def shown(self) -> str:
        """The certificate on a new connection, as PEM."""
        host, _, port = self.server.address.rpartition(":")
        return await asyncio.to_thread(
            ssl.get_server_certificate, (host, int(port)), timeout=WAIT_SECONDS
        )

    async def answer(self) -> bytes:
        """The answer on a new connection."""
        transport = self.callers.transport("unary")
        try:
            return await transport.call(
                self.server.address, ECHO, b"hi", self.callers.metadata, WAIT_SECONDS
            )
        finally:
            await transport.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    authority, directory = make_authority(now_utc()), tmp_path / "tls"
    authority.issue(directory, "gacha_svc", ["127.0.0.1"], now_utc())
    callers = Callers(directory)
    server = EchoProcess(callers, tmp_path)
    yield Served(authority, directory, callers, server)
    server.kill()


async def _connect_and_leave(address: str) -> None:
    host, _, port = address.rpartition(":")

    def connect_all() -> list[socket.socket]:
        return [
            socket.create_connection((host, int(port)), WAIT_SECONDS)
            for _ in range(CONNECTION_COUNT)
        ]

    connections = await asyncio.to_thread(connect_all)
    await asyncio.sleep(SILENT_SECONDS)
    for each in connections:
        each.close()


async def test_silent_connections_leave_a_server_alive(served: Served) -> None:
    for _ in range(ROUND_COUNT):
        await _connect_and_leave(served.server.address)
        assert await served.answer() == b"echo hi"


async def test_a_renewal_amid_silent_connections_is_shown(served: Served) -> None:
    for _ in range(ROUND_COUNT):
        connecting = asyncio.create_task(_connect_and_leave(served.server.address))
        renewed = await asyncio.to_thread(served.renew)
        await connecting
        async with asyncio.timeout(WAIT_SECONDS):
            while await served.shown() != renewed:
                await asyncio.sleep(LOOK_SECONDS)
        assert await served.answer() == b"echo hi"
