"""A real server and real clients with mutual TLS: which clients are accepted, and renewals
without an interruption."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.secrets.certificates import Authority, make_authority, now_utc
from mesh.calling.transport import ConnectionBroken, Transport
from mesh.process.server import Server
from mesh.tls.certificates import Certificates
from mesh.tls.material import Material, TlsFiles
from mesh.tls.security import PLAIN, MutualTls, Security
from tests.unit.mesh.echo import ECHO, Callers, Echo, echo_server
from tests.unit.registry.running import until

NEVER_SECONDS = 3600.0
GRACE_SECONDS = 20.0
CHANGE_COUNT = 10


def _read(files: TlsFiles) -> Certificates:
    """Certificates that are not followed: the test triggers each reload."""
    return Certificates(files, look_seconds=NEVER_SECONDS)


@dataclass
class Link:
    """A server with a certificate for 127.0.0.1, and its callers."""

    folder: Path
    authority: Authority
    callers: Callers
    echo: Echo
    served: Certificates
    transports: list[Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = self.new_server("127.0.0.1:0")

    def issue(self, name: str, authority: Authority | None = None) -> TlsFiles:
        return (authority or self.authority).issue(
            self.folder / name, name, ["127.0.0.1"], now_utc()
        )

    def transport(self, kind: str, security: Security) -> Transport:
        self.callers.security = security
        transport = self.callers.transport(kind, GRACE_SECONDS)
        self.transports.append(transport)
        return transport

    async def call(self, transport: Transport) -> bytes:
        address = f"127.0.0.1:{self.server.port}"
        return await transport.call(address, ECHO, b"hi", self.callers.metadata, 5.0)

    async def is_answered(self, transport: Transport) -> bool:
        try:
            return await self.call(transport) == b"echo hi"
        except ConnectionBroken:
            return False

    async def break_connections(self) -> None:
        """Replaces the server with another one at the same address."""
        port = self.server.port
        await self.server.stop(0)
        self.server = self.new_server(f"127.0.0.1:{port}")
        await self.server.start()

    def new_server(self, listen: str) -> Server:
        return echo_server(self.callers.key, self.echo, listen, security=MutualTls(self.served))

    def context(self, files: TlsFiles) -> ssl.SSLContext:
        """A client context that trusts the CA and has no certificate."""
        context = ssl.create_default_context(cafile=str(files.ca))
        context.set_alpn_protocols(["h2"])
        return context

    def read_from(self, context: ssl.SSLContext) -> dict[str, object]:
        """The server's certificate. Raises ConnectionResetError when the server refuses."""
        with (
            socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            told = wrapped.getpeercert()
            if not wrapped.read(1):
                raise ConnectionResetError("a server of HTTP/2 that lets one in speaks first")
        assert told is not None
        return dict(told)

    def shown_serial(self, files: TlsFiles) -> object:
        """The serial number of the server's certificate on a new connection."""
        context = self.context(files)
        context.load_cert_chain(files.certificate, files.key)
        return self.read_from(context)["serialNumber"]


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path / "server", "gacha_svc", ["127.0.0.1"], now_utc())
    link = Link(tmp_path, authority, Callers(), Echo(), _read(files))
    await link.server.start()
    yield link
    for transport in link.transports:
        await transport.close()
    await link.server.stop(0)


@pytest.fixture(params=["unary", "lane"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_certificate_of_the_ca_is_let_in(link: Link, kind: str) -> None:
    transport = link.transport(kind, MutualTls(_read(link.issue("account_svc"))))
    assert await link.call(transport) == b"echo hi"


async def test_plain_text_is_refused(link: Link, kind: str) -> None:
    with pytest.raises(ConnectionBroken):
        await link.call(link.transport(kind, PLAIN))
    assert link.echo.calls == []


async def test_a_certificate_of_another_ca_is_refused(link: Link, kind: str) -> None:
    stranger = link.issue("stranger", make_authority(now_utc()))
    own = link.issue("account_svc")
    # It accepts the server's certificate, but the server does not accept its own.
    material = _read(stranger).current
    shown = Material(
        material.certificate,
        material.key,
        _read(own).current.ca,
        material.begins_at,
        material.ends_at,
    )
    with pytest.raises(ConnectionBroken):
        await link.call(link.transport(kind, _showing(link, shown)))
    assert link.echo.calls == []


async def test_an_expired_certificate_is_refused(link: Link, kind: str) -> None:
    files = link.authority.issue(
        link.folder / "late", "late", ["127.0.0.1"], now_utc(), timedelta(seconds=-30)
    )
    assert files.ca is not None
    shown = Material(
        files.certificate.read_bytes(), files.key.read_bytes(), files.ca.read_bytes(), 0.0, 1.0
    )
    with pytest.raises(ConnectionBroken):
        await link.call(link.transport(kind, _showing(link, shown)))
    assert link.echo.calls == []


class Unchecked(Certificates):
    """Certificates without the checks of a real process."""

    def __init__(self, files: TlsFiles, material: Material) -> None:
        super().__init__(files, look_seconds=NEVER_SECONDS)
        self._unchecked = material

    @property
    def current(self) -> Material:
        return self._unchecked


def _showing(link: Link, material: Material) -> Security:
    return MutualTls(Unchecked(link.issue("shown"), material))


async def test_no_certificate_is_refused(link: Link) -> None:
    context = link.context(link.issue("account_svc"))
    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(link.read_from, context)


async def test_a_server_of_another_ca_is_not_believed(link: Link, kind: str) -> None:
    stranger = make_authority(now_utc())
    transport = link.transport(kind, MutualTls(_read(link.issue("stranger", stranger))))
    with pytest.raises(ConnectionBroken):
        await link.call(transport)


async def test_a_server_that_is_not_named_so_is_not_believed(link: Link, kind: str) -> None:
    certificates = _read(link.issue("account_svc"))
    transport = link.transport(kind, MutualTls(certificates, "somebody.else"))
    with pytest.raises(ConnectionBroken):
        await link.call(transport)


async def test_one_name_may_stand_for_all_servers(link: Link, kind: str) -> None:
    link.authority.issue(link.folder / "server", "gacha_svc", ["mesh.internal"], now_utc())
    link.served.look_again()
    certificates = _read(link.issue("account_svc"))
    with pytest.raises(ConnectionBroken):
        await link.call(link.transport(kind, MutualTls(certificates)))
    named = link.transport(kind, MutualTls(certificates, "mesh.internal"))
    assert await link.call(named) == b"echo hi"


async def test_servers_show_the_new_certificate_from_the_next_handshake_on(link: Link) -> None:
    files = link.issue("account_svc")
    before = await asyncio.to_thread(link.shown_serial, files)
    link.issue("server")
    link.served.look_again()
    assert await asyncio.to_thread(link.shown_serial, files) != before


async def test_clients_make_their_connections_anew(link: Link, kind: str) -> None:
    certificates = _read(link.issue("account_svc"))
    transport = link.transport(kind, MutualTls(certificates))
    await link.call(transport)
    # An old connection continues; a new one needs a certificate of the other CA.
    other = make_authority(now_utc())
    link.issue("server", other)
    link.served.look_again()
    assert await link.call(transport) == b"echo hi"
    link.issue("account_svc", other)
    certificates.look_again()
    await link.break_connections()
    async with asyncio.timeout(5.0):
        while not await link.is_answered(transport):
            await asyncio.sleep(0.02)


async def test_no_call_fails_while_certificates_are_replaced(link: Link, kind: str) -> None:
    files = link.issue("account_svc")
    certificates = _read(files)
    transport = link.transport(kind, MutualTls(certificates))
    answers: list[bytes] = []
    is_over = asyncio.Event()

    async def keep_calling() -> None:
        while not is_over.is_set():
            answers.append(await link.call(transport))

    callers = [asyncio.create_task(keep_calling()) for _ in range(8)]
    for _ in range(CHANGE_COUNT):
        began, seen = time.monotonic(), len(answers)
        link.issue("account_svc")
        link.issue("server")
        link.served.look_again()
        certificates.look_again()
        await until(lambda: len(answers) > seen + 20)  # noqa: B023 (ended before the next)
        assert time.monotonic() - began < 5.0
    is_over.set()
    await asyncio.gather(*callers)
    assert set(answers) == {b"echo hi"}


async def test_a_call_under_way_ends_on_its_old_connection(link: Link, kind: str) -> None:
    certificates = _read(link.issue("account_svc"))
    transport = link.transport(kind, MutualTls(certificates))
    address = f"127.0.0.1:{link.server.port}"
    running = asyncio.create_task(
        transport.call(address, ECHO, b"wait", link.callers.metadata, 20.0)
    )
    await until(lambda: bool(link.echo.calls))
    link.issue("account_svc")
    certificates.look_again()
    assert await link.call(transport) == b"echo hi"
    link.echo.release.set()
    assert await running == b"echo wait"
