"""Every transport, when the process at its other end is killed or frozen.

Each test runs over unary calls and lanes, plain and over TLS.
"""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.calling.transport import ConnectionBroken, NoAnswer
from tests.process.mesh.echo_process import EchoProcess
from tests.unit.mesh.calling.transport_link import Way
from tests.unit.mesh.echo import (
    ECHO,
    Callers,
)


@pytest.fixture(scope="module")
def tls_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    make_authority(now_utc()).issue(directory, "gacha_svc", ["127.0.0.1"], now_utc())
    return directory


@pytest.fixture(params=["unary", "lane", "unary-tls", "lane-tls"])
def way(request: pytest.FixtureRequest, tls_directory: Path) -> Way:
    kind, _, tls = str(request.param).partition("-")
    return Way(kind, tls_directory if tls else None)


@pytest.fixture
def process(tmp_path: Path, way: Way) -> Iterator[tuple[EchoProcess, Callers]]:
    callers = way.callers()
    process = EchoProcess(callers, tmp_path)
    yield process, callers
    process.kill()


async def test_a_killed_server_breaks_its_calls(
    way: Way, process: tuple[EchoProcess, Callers]
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    calls = [
        asyncio.create_task(transport.call(server.address, ECHO, b"wait", callers.metadata, 20.0))
        for _ in range(5)
    ]
    await asyncio.sleep(0.2)
    began = monotonic()
    server.process.kill()
    for call in calls:
        with pytest.raises(ConnectionBroken) as caught:
            await call
        assert caught.value.was_sent
    assert monotonic() - began < 5.0
    await transport.close()


async def test_a_frozen_server_costs_no_more_than_the_timeout(
    way: Way, process: tuple[EchoProcess, Callers]
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    server.process.send_signal(signal.SIGSTOP)
    began = monotonic()
    calls = [
        asyncio.create_task(transport.call(server.address, ECHO, b"hi", callers.metadata, 0.5))
        for _ in range(20)
    ]
    for call in calls:
        with pytest.raises(NoAnswer):
            await call
    assert monotonic() - began < 5.0
    server.process.send_signal(signal.SIGCONT)
    answer = await transport.call(server.address, ECHO, b"again", callers.metadata, 5.0)
    assert answer == b"echo again"
    await transport.close()


async def test_a_killed_server_that_comes_back_on_its_port_is_found(
    way: Way, process: tuple[EchoProcess, Callers], tmp_path: Path
) -> None:
    server, callers = process
    transport = callers.transport(way.kind)
    await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    server.process.kill()
    server.process.wait()
    with pytest.raises(ConnectionBroken):
        await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
    again = EchoProcess(callers, tmp_path, server.address)
    async with asyncio.timeout(5.0):
        while True:
            try:
                await transport.call(again.address, ECHO, b"hi", callers.metadata, 5.0)
                break
            except ConnectionBroken:
                await asyncio.sleep(0.02)
    await transport.close()
    again.kill()
