"""HTTPS goes on while its certificate is replaced: no request fails, no connection is lost."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.secrets.certificates import make_authority, now_utc
from gateway_http.listening.listener import listening_socket
from gateway_http.listening.renewal import RenewingServer
from mesh.tls.certificates import Certificates
from tests.unit.registry.running import until

CHANGE_COUNT = 5
LINGER_SECONDS = 1.0


class Greeter:
    """An RSGI application that answers "hello" to anybody."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, [("content-length", "5")], b"hello")


class House:
    """A server with a certificate for 127.0.0.1, followed quickly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority(now_utc())
        self.files = self.issue()
        self.trust = ssl.create_default_context(cafile=str(self.files.ca))
        listener = listening_socket("127.0.0.1:0")
        self.address: tuple[str, int] = listener.getsockname()
        self.url = f"https://127.0.0.1:{self.address[1]}/"
        certificates = Certificates(self.files, look_seconds=0.02)
        self.server = RenewingServer(
            Greeter(), listener, self.files, certificates, linger_seconds=LINGER_SECONDS
        )
        self.serving = asyncio.create_task(self.server.serve())

    def issue(self) -> Any:
        return self.authority.issue(self.folder, "gateway_http", ["127.0.0.1"], now_utc())

    async def shown_serial(self) -> str:
        return await asyncio.to_thread(self._shown_serial)

    def _shown_serial(self) -> str:
        with (
            socket.create_connection(self.address, timeout=5) as plain,
            self.trust.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            told = wrapped.getpeercert()
        assert told is not None
        return str(told["serialNumber"])

    async def renew(self) -> None:
        """Returns when new connections are shown the new certificate alone."""
        before, serial = self.server._current, await self.shown_serial()
        self.issue()
        await until(lambda: self.server._current is not before)
        shown = {await self.shown_serial() for _ in range(8)}
        assert len(shown) == 1
        assert serial not in shown


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    house.server.stop_accepting()
    house.server.leave()
    await asyncio.wait_for(house.serving, 10)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "is_served"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_tls_is_1_2_or_later(house: House, version: ssl.TLSVersion, is_served: bool) -> None:
    context = house.trust
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    async with httpx.AsyncClient(verify=context) as client:
        if is_served:
            assert (await client.get(house.url)).text == "hello"
        else:
            with pytest.raises(httpx.ConnectError):
                await client.get(house.url)


async def test_plain_http_is_refused(house: House) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(house.url.replace("https", "http"))


async def test_no_request_fails_while_certificates_are_replaced(house: House) -> None:
    answers: list[str] = []
    is_over = asyncio.Event()

    async def keep_asking(*, keeps_connection: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keeps_connection else 0)
        async with httpx.AsyncClient(verify=house.trust, limits=limits) as client:
            while not is_over.is_set():
                answers.append((await client.get(house.url)).text)
                await asyncio.sleep(0.001)

    askers = [
        asyncio.create_task(keep_asking(keeps_connection=number % 2 == 0)) for number in range(6)
    ]
    for _ in range(CHANGE_COUNT):
        seen = len(answers)
        await house.renew()
        await until(lambda: len(answers) > seen + 12)  # noqa: B023 (ended before the next)
    is_over.set()
    await asyncio.gather(*askers)
    assert set(answers) == {"hello"}


async def test_a_kept_connection_is_told_to_close_with_its_next_answer(house: House) -> None:
    reader, writer = await asyncio.open_connection(
        *house.address, ssl=house.trust, server_hostname="127.0.0.1"
    )
    await house.renew()
    writer.write(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b"hello")
    writer.close()


async def test_a_replaced_server_leaves(house: House) -> None:
    await house.renew()
    assert len(house.server._replaced) == 1
    await until(lambda: not house.server._replaced)
    assert await house.shown_serial()


async def test_a_key_that_cannot_be_used_changes_nothing(house: House) -> None:
    before = await house.shown_serial()
    house.files.key.write_text("nonsense")
    await asyncio.sleep(0.2)
    assert await house.shown_serial() == before
