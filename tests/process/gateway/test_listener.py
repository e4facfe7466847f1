"""A gateway's server leaves without closing a connection that it has accepted."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_http.listening.listener import EmbeddedServer, listening_socket

REQUEST = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"
UNHEARD_SECONDS = 0.3


class Greeter:
    """An RSGI application that answers "hello" to anybody."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        protocol.response_str(200, [("content-length", "5")], "hello")


class Visitor:
    """A connection, made in its constructor."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=10)

    async def ask(self) -> bytes:
        """Sends a request and gives the body of the answer; nothing when none comes in time."""
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        await loop.sock_sendall(self._socket, REQUEST)
        answer = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNHEARD_SECONDS):
                while not answer.endswith(b"hello"):
                    answer += await loop.sock_recv(self._socket, 4096)
        return answer[-5:]

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def held_by_another_process(listener: socket.socket) -> Iterator[None]:
    """As whoever supervises a gateway does, so that connections wait in the socket."""
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[listener.fileno()]
    ):
        yield


@pytest.mark.parametrize("_attempt", range(5))
async def test_what_was_accepted_is_served_after_the_door_is_shut(_attempt: int) -> None:
    listener = listening_socket("127.0.0.1:0")
    address = listener.getsockname()
    with held_by_another_process(listener):
        server = EmbeddedServer(Greeter(), listener)
        serving = asyncio.create_task(server.serve())
        known, silent = Visitor(address), Visitor(address)
        assert await known.ask() == b"hello"
        server.stop_accepting()
        late = Visitor(address)
        assert [await each.ask() for each in (silent, known, late)] == [b"hello", b"hello", b""]
        server.leave()
        await asyncio.wait_for(serving, 10)
        for each in (known, silent, late):
            each.close()
