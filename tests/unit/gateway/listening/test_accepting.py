"""A connection that is ended while it is accepted: its client learns it, and nothing is left."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from deploy.local.secrets.certificates import make_authority, now_utc
from gateway_http.listening.places import Reason
from gateway_http.listening.tls import CurrentCertificate
from mesh.tls.certificates import Certificates
from tests.unit.gateway.listening.serving import GET, PATIENCE_SECONDS, PATIENT, running
from tests.unit.registry.running import until

WAIT = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
BOUND = 8
BURST = 60
BURST_PAUSE = 7
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@pytest.fixture
def without_collector() -> Iterator[None]:
    """The garbage collector would close what the server forgets."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _socket_count() -> int:
    """The open sockets of this process."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor that reads the folder
            count += os.readlink(each).startswith("socket:")
    return count


def _connected(address: tuple[str, int], sent: bytes) -> socket.socket:
    client = socket.create_connection(address)
    client.sendall(sent)
    client.setblocking(False)
    return client


async def _hears(client: socket.socket) -> bool:
    """Whether the client gets an answer or the end of its connection."""
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), PATIENCE_SECONDS)
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@LOOPS
@pytest.mark.usefixtures("without_collector")
def test_a_burst_of_one_address_leaves_no_client_without_an_end(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def burst() -> None:
        async with running(replace(PATIENT, max_address_connections=BOUND)) as run:
            before = _socket_count()
            busy = [_connected(run.address, WAIT) for _ in range(BOUND - 1)]
            await until(lambda: len(run.application.requests) == BOUND - 1)
            clients = []
            for number in range(BURST):
                clients.append(_connected(run.address, GET))
                if number % BURST_PAUSE == 0:
                    await asyncio.sleep(0)  # so that some are half accepted as others come
            heard = await asyncio.gather(*[_hears(each) for each in clients])
            assert sum(heard) == BURST
            assert run.ends[Reason.ADDRESS] > 0
            for each in (*busy, *clients):
                each.close()
            await until(lambda: run.server.connection_count == 0)
            await until(lambda: _socket_count() == before)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(burst())


@LOOPS
@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("steps", range(4))
@pytest.mark.usefixtures("without_collector")
def test_leaving_ends_what_is_being_accepted(
    loop: Callable[[], asyncio.AbstractEventLoop], is_secure: bool, steps: int, tmp_path: Path
) -> None:
    """Whichever step of the event loop it has reached."""

    async def leave() -> None:
        certificate = None
        if is_secure:
            files = make_authority(now_utc()).issue(tmp_path, "gateway_http", ["::1"], now_utc())
            certificate = CurrentCertificate(files, Certificates(files))
        async with running(replace(PATIENT, leave_seconds=-1.0), certificate) as run:
            await asyncio.sleep(0.01)
            before = _socket_count()
            clients = [_connected(run.address, b"") for _ in range(5)]
            while not run.server.connection_count:
                await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            run.server.leave()
            async with asyncio.timeout(5):
                await run.serving
                assert all(await asyncio.gather(*[_hears(each) for each in clients]))
            for each in clients:
                each.close()
            await until(lambda: _socket_count() == before - 1)  # the listener is closed

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(leave())
