"""HTTPS continues while its certificate is replaced: no request or connection is lost."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from deploy.local.secrets.certificates import Authority, make_authority, now_utc
from gateway_http.listening.places import Reason
from gateway_http.listening.tls import CurrentCertificate
from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles
from tests.unit.gateway.listening.serving import (
    GET,
    PATIENT,
    SHORT,
    Client,
    Running,
    running,
)
from tests.unit.registry.running import until

CHANGE_COUNT = 5


@dataclass
class Secure:
    """A server with a certificate for 127.0.0.1 whose files are checked often."""

    run: Running
    folder: Path
    authority: Authority
    files: TlsFiles
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.run.address[1]}/hello"

    async def connect(self) -> Client:
        connection = await asyncio.open_connection(
            *self.run.address, ssl=self.trust, server_hostname="127.0.0.1"
        )
        return Client(*connection)

    async def shown_serial(self) -> str:
        client = await self.connect()
        shown = client.writer.get_extra_info("peercert")
        client.close()
        return str(shown["serialNumber"])

    async def renew(self) -> None:
        """Renews the certificate; returns when new connections get it."""
        before = await self.shown_serial()
        self.authority.issue(self.folder, "gateway_http", ["127.0.0.1"], now_utc())
        async with asyncio.timeout(20):
            while await self.shown_serial() == before:
                await asyncio.sleep(0.01)


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    trust = ssl.create_default_context(cafile=str(files.ca))
    certificate = CurrentCertificate(files, Certificates(files, look_seconds=0.02))
    async with running(certificate=certificate) as run:
        yield Secure(run, tmp_path, authority, files, trust)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "is_served"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_tls_is_1_2_or_later(
    secure: Secure, version: ssl.TLSVersion, is_served: bool
) -> None:
    context = secure.trust
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    async with httpx.AsyncClient(verify=context) as client:
        if is_served:
            assert (await client.get(secure.url)).text == "/hello"
            assert secure.run.application.requests[0].scheme == "https"
        else:
            with pytest.raises(httpx.ConnectError):
                await client.get(secure.url)


async def test_plain_http_is_refused(secure: Secure) -> None:
    client = await secure.run.connect()
    client.write(GET)
    assert b"HTTP" not in await client.rest()
    client.close()


async def test_a_handshake_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    files = make_authority(now_utc()).issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    async with running(SHORT, CurrentCertificate(files, Certificates(files))) as run:
        with socket.create_connection(run.address) as silent:
            await until(lambda: run.server.connection_count == 1)
            await until(lambda: run.server.connection_count == 0)
            silent.settimeout(5)
            assert await asyncio.to_thread(silent.recv, 1) == b""


async def test_a_connection_that_is_idle_after_its_handshake_is_closed(tmp_path: Path) -> None:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    trust = ssl.create_default_context(cafile=str(files.ca))
    async with running(SHORT, CurrentCertificate(files, Certificates(files))) as run:
        secure = Secure(run, tmp_path, authority, files, trust)
        client = await secure.connect()
        assert await client.rest() == b""
        client.close()


async def test_handshakes_that_do_not_come_keep_no_others_out(tmp_path: Path) -> None:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    trust = ssl.create_default_context(cafile=str(files.ca))
    certificate = CurrentCertificate(files, Certificates(files))
    async with running(replace(PATIENT, max_connections=10), certificate) as run:
        silent = [await run.connect() for _ in range(10)]
        await until(lambda: run.server.connection_count == 10)
        secure = Secure(run, tmp_path, authority, files, trust)
        for count in range(1, 4):
            client = await secure.connect()
            assert await client.ask(GET) == (200, b"/hello")
            assert run.ends[Reason.FULL] == count
            silent.append(client)
        assert await silent[0].rest() == b""
        await until(lambda: run.server.connection_count <= 10)
        for each in silent:
            each.reset()


async def test_a_handshake_that_has_begun_is_served_by_a_server_that_leaves(
    secure: Secure,
) -> None:
    with socket.create_connection(secure.run.address) as begun:
        await until(lambda: secure.run.server.connection_count == 1)
        secure.run.server.leave()
        begun.settimeout(5)

        def ask() -> bytes:
            with secure.trust.wrap_socket(begun, server_hostname="127.0.0.1") as client:
                client.sendall(GET)
                return client.recv(10_000)

        answer = await asyncio.to_thread(ask)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("does_handshake", [False, True])
async def test_a_client_that_does_nothing_does_not_hold_up_leaving(
    tmp_path: Path, does_handshake: bool
) -> None:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    trust = ssl.create_default_context(cafile=str(files.ca))
    bounds = replace(PATIENT, leave_seconds=0.3)
    async with running(bounds, CurrentCertificate(files, Certificates(files))) as run:
        with socket.create_connection(run.address) as begun:
            await until(lambda: run.server.connection_count == 1)
            run.server.leave()
            if does_handshake:
                begun = await asyncio.to_thread(
                    trust.wrap_socket, begun, server_hostname="127.0.0.1"
                )
            async with asyncio.timeout(5):
                await run.serving
            begun.close()


async def test_no_request_fails_while_certificates_are_replaced(secure: Secure) -> None:
    answers: list[str] = []
    is_over = asyncio.Event()

    async def keep_asking(*, keeps_connection: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keeps_connection else 0)
        async with httpx.AsyncClient(verify=secure.trust, limits=limits) as client:
            while not is_over.is_set():
                answers.append((await client.get(secure.url)).text)
                await asyncio.sleep(0.001)

    askers = [
        asyncio.create_task(keep_asking(keeps_connection=number % 2 == 0)) for number in range(4)
    ]
    for _ in range(CHANGE_COUNT):
        seen = len(answers)
        await secure.renew()
        await until(lambda: len(answers) > seen + 8)  # noqa: B023 (ended before the next)
    is_over.set()
    await asyncio.gather(*askers)
    assert set(answers) == {"/hello"}


async def test_a_connection_outlives_the_certificate_that_it_began_with(secure: Secure) -> None:
    client = await secure.connect()
    for _ in range(2):
        assert await client.ask(GET) == (200, b"/hello")
        await secure.renew()
    assert await client.ask(GET) == (200, b"/hello")
    client.close()


async def test_a_key_that_cannot_be_used_changes_nothing(secure: Secure) -> None:
    before = await secure.shown_serial()
    secure.files.key.write_text("nonsense")
    await asyncio.sleep(0.2)
    assert await secure.shown_serial() == before
    await secure.renew()


async def test_files_that_changed_after_they_were_checked_are_tried_again(tmp_path: Path) -> None:
    authority = make_authority(now_utc())
    files = authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    certificates = Certificates(files, look_seconds=60.0)
    good_key: list[bytes] = []

    def spoil_key() -> None:
        good_key.append(files.key.read_bytes())
        files.key.write_text("nonsense")

    certificates.subscribe(spoil_key)  # called before the server's own callback
    certificate = CurrentCertificate(files, certificates, retry_seconds=0.02)
    certificate.start()
    before = certificate.context
    authority.issue(tmp_path, "gateway_http", ["127.0.0.1"], now_utc())
    certificates.look_again()
    assert (len(good_key), certificate.context) == (1, before)
    files.key.write_bytes(good_key[0])
    await until(lambda: certificate.context is not before)
    await certificate.close()
