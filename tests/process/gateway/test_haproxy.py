"""HAProxy before a gateway: slow clients and crowds end there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e import haproxy
from tests.unit.registry.running import until

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
POST = b"POST /gacha/pull/a HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n"
BODY = b'{"count":10}'
GET = b"GET /items HTTP/1.1\r\nhost: x\r\n\r\n"
UNHEARD_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
MANY = 5


@dataclass
class Recorder:
    """A gateway that answers everything, and keeps what reaches it besides probes."""

    received: bytes = b""
    address: str = ""
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        while data := await reader.read(100_000):
            if not data.startswith(b"GET /readyz"):
                self.received += data
            writer.write(ANSWER)
        writer.close()


@asynccontextmanager
async def proxied(log: Path, **settings: str) -> AsyncIterator[tuple[Recorder, tuple[str, int]]]:
    """A recorder, and the address of HAProxy before it."""
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    running = haproxy.running([f"{host}:{port}"], log, settings=settings)
    url = await asyncio.to_thread(running.__enter__)
    try:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        yield recorder, (address.hostname, address.port)
    finally:
        running.__exit__(None, None, None)
        server.close()
        for writer in recorder.connections:
            writer.transport.abort()


async def connect(address: tuple[str, int], source: str = "127.0.0.1") -> "Streams":
    return await asyncio.open_connection(*address, local_addr=(source, 0))


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(streams: Streams, data: bytes) -> bytes:
    """Sends it, and returns the beginning of the answer; empty if the connection was closed."""
    reader, writer = streams
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(1000), PATIENCE_SECONDS)
    except ConnectionError:
        return b""


async def is_served(address: tuple[str, int], source: str) -> bool:
    """Whether a new connection gets an answer."""
    try:
        streams = await connect(address, source)
    except ConnectionError:
        return False
    answer = await ask(streams, GET)
    close([streams])
    return answer.startswith(b"HTTP/1.1 200 ")


def close(connections: Sequence[Streams]) -> None:
    for _, writer in connections:
        writer.transport.abort()


@pytest.mark.parametrize("sent", [POST[:20], POST, POST + BODY[:5]], ids=["head", "body", "rest"])
async def test_a_request_reaches_a_gateway_when_all_of_it_has_arrived(
    tmp_path: Path, sent: bytes
) -> None:
    async with proxied(tmp_path / "log") as (recorder, address):
        slow = await connect(address)
        slow[1].write(sent)
        await asyncio.sleep(UNHEARD_SECONDS)
        assert recorder.received == b""
        answer = await ask(slow, (POST + BODY)[len(sent) :])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert recorder.received.endswith(b"\r\n\r\n" + BODY)
        close([slow])


@pytest.mark.parametrize("sent", [b"", POST[:20], POST, POST + BODY[:5]])
async def test_a_request_that_does_not_arrive_in_time_is_refused(
    tmp_path: Path, sent: bytes
) -> None:
    async with proxied(tmp_path / "log", HAPROXY_REQUEST_TIME="300ms") as (recorder, address):
        slow = await connect(address)
        answer = await ask(slow, sent)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert recorder.received == b""
        close([slow])


async def test_an_address_has_a_bound_on_its_connections(tmp_path: Path) -> None:
    settings = {"HAPROXY_ADDRESS_CONNECTIONS": str(MANY)}
    async with proxied(tmp_path / "log", **settings) as (_, address):
        greedy = [await connect(address, "127.0.0.2") for _ in range(MANY)]
        for each in greedy:
            assert await ask(each, GET)
        assert not await is_served(address, "127.0.0.2")
        honest = await connect(address, "127.0.0.3")
        assert (await ask(honest, GET)).startswith(b"HTTP/1.1 200 ")
        close(greedy[:1])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await is_served(address, "127.0.0.2"):
                await asyncio.sleep(0.02)
        close([*greedy, honest])


async def test_a_client_that_expects_100_continue_gets_it(tmp_path: Path) -> None:
    head = POST.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    async with proxied(tmp_path / "log") as (recorder, address):
        client = await connect(address)
        assert (await ask(client, head)).startswith(b"HTTP/1.1 100 ")
        assert (await ask(client, BODY)).startswith(b"HTTP/1.1 200 ")
        await until(lambda: recorder.received.endswith(BODY))
        close([client])
