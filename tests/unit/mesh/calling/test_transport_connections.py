"""How every transport connects, and reacts when a server stops, breaks or is silent.

Each test runs over unary calls and lanes, plain and over TLS, against a real server.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.errors import (
    DeadlineExceeded,
)
from tests.unit.mesh.calling.transport_link import Link, Way
from tests.unit.mesh.echo import (
    ECHO,
)
from tests.unit.registry.running import until


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
async def link(way: Way) -> AsyncIterator[Link]:
    link = Link(way)
    await link.server.start()
    yield link
    await link.close()


async def test_a_draining_server_answers_its_calls_and_accepts_no_more(link: Link) -> None:
    running = link.begin(b"wait")
    await until(lambda: bool(link.echo.calls))
    stopping = asyncio.create_task(link.server.stop(20.0))

    async def is_refused() -> bool:
        try:
            await link.call(b"hi", seconds=1.0)
        except ConnectionBroken:
            return True
        return False

    async with asyncio.timeout(5.0):
        while not await is_refused():
            await asyncio.sleep(0.01)
    assert not running.done()
    began = monotonic()
    link.echo.release.set()
    assert await running == b"echo wait"
    await stopping
    assert monotonic() - began < 5.0


async def test_a_method_may_still_be_cancelled_while_the_server_drains(link: Link) -> None:
    running = link.begin(b"wait")
    await until(lambda: bool(link.echo.calls))
    stopping = asyncio.create_task(link.server.stop(20.0))
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait_for(link.echo.cancelled.wait(), 5.0)
    await asyncio.wait_for(stopping, 5.0)


async def test_idle_connections_do_not_hold_a_stopping_server(link: Link) -> None:
    await link.call(b"hi")
    began = monotonic()
    await link.server.stop(20.0)
    assert monotonic() - began < 5.0


async def test_a_server_that_stops_at_once_breaks_its_calls(link: Link) -> None:
    running = link.begin(b"wait")
    await until(lambda: bool(link.echo.calls))
    await link.server.stop(0)
    with pytest.raises(ConnectionBroken) as caught:
        await running
    assert caught.value.was_sent


async def test_a_restarted_server_is_found_soon(link: Link) -> None:
    await link.call(b"hi")
    await link.restart()
    began = monotonic()
    while True:
        try:
            assert await link.call(b"hi") == b"echo hi"
            break
        except ConnectionBroken:
            await asyncio.sleep(0.01)
    assert monotonic() - began < 5.0


async def test_connecting_sends_nothing_and_is_idempotent(link: Link) -> None:
    await link.transport.connect(link.address, 5.0)
    await link.transport.connect(link.address, 0.001)
    assert link.echo.calls == []


async def test_without_a_listener_nothing_was_sent(link: Link) -> None:
    await link.server.stop(0)
    with pytest.raises(ConnectionBroken) as caught:
        await link.transport.connect(link.address, 5.0)
    assert not caught.value.was_sent
    with pytest.raises(ConnectionBroken):
        await link.call(b"hi")


async def test_a_peer_that_never_says_a_word_is_given_up_in_time(link: Link) -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    began = monotonic()
    with pytest.raises((NoAnswer, ConnectionBroken)) as caught:
        await link.transport.connect(address, 0.2)
    error: Any = caught.value
    assert not error.was_sent
    with pytest.raises((NoAnswer, ConnectionBroken)):
        await link.transport.call(address, ECHO, b"hi", {}, 0.2)
    assert monotonic() - began < 5.0
    mute.close()
    for writer in writers:
        writer.close()


async def test_an_unwanted_connection_goes_and_comes_again(link: Link) -> None:
    await link.call(b"hi")
    link.transport.retain([])
    await until(lambda: not link.transport.connected_addresses)
    assert await link.call(b"hi") == b"echo hi"


async def test_a_connection_that_is_wanted_again_stays(link: Link) -> None:
    await link.call(b"hi")
    link.transport.retain([])
    link.transport.retain([link.address])
    await asyncio.sleep(0.2)  # no call reopens a closed connection during this time
    assert link.transport.connected_addresses == {link.address}


async def test_closing_ends_the_calls_under_way_and_their_methods(link: Link) -> None:
    running = link.begin(b"wait", seconds=30.0)
    await until(lambda: bool(link.echo.calls))
    await link.transport.close()
    done, _ = await asyncio.wait((running,), timeout=5.0)
    assert done
    await asyncio.wait_for(link.echo.cancelled.wait(), 5.0)


@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_no_answer_never_comes_before_the_time_is_over(way: Way, loops: str) -> None:
    """Otherwise the client would blame the instance and not the deadline."""

    async def try_short_timeouts() -> None:
        link = Link(way)
        await link.server.start()
        await link.transport.connect(link.address, 5.0)
        for timeout_us in (0, 1, 50, 200, 400, 1_400, 2_450, 5_300) * 4:
            seconds = timeout_us / 1e6
            began = monotonic()
            with pytest.raises(DeadlineExceeded):
                await link.call(b"wait", seconds=seconds)
            assert monotonic() - began >= seconds
        await link.close()

    runner = uvloop.run if loops == "uvloop" else asyncio.run
    runner(try_short_timeouts())
