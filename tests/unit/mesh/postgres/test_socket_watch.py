"""A reader that the loop keeps from one wait to the next."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from mesh.postgres.socket_watch import SocketWatch

Pair = tuple[socket.socket, socket.socket]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the readers that are added, and the calls of readers."""

    added_count = 0
    called_count = 0

    def add_reader(  # type: ignore[override]  # typed for any arguments of a callback
        self, fd: Any, callback: Callable[..., Any], *args: Any
    ) -> None:
        def counted() -> None:
            self.called_count += 1
            callback(*args)

        self.added_count += 1
        super().add_reader(fd, counted)


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


async def readable(watch: SocketWatch) -> None:
    ready = asyncio.Event()
    watch.begin(ready.set)
    async with asyncio.timeout(5):
        await ready.wait()


async def read(watch: SocketWatch, near: socket.socket) -> bytes:
    await readable(watch)
    return near.recv(1)


def test_the_reader_is_added_once(pair: Pair) -> None:
    near, far = pair
    watch = SocketWatch(near.fileno())

    async def run() -> bytes:
        received = b""
        for byte in (b"a", b"b", b"c"):
            far.send(byte)
            received += await read(watch, near)
        watch.close()
        return received

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        loop.added_count = 0
        assert runner.run(run()) == b"abc"
        assert loop.added_count == 1


def test_what_nobody_asked_for_is_reported_once_and_read_by_the_next_who_asks(pair: Pair) -> None:
    near, far = pair
    watch = SocketWatch(near.fileno())

    async def run(loop: CountingLoop) -> bytes:
        far.send(b"a")
        received = await read(watch, near)
        loop.called_count = 0
        far.send(b"b")
        await asyncio.sleep(0.05)
        assert loop.called_count == 1
        received += await read(watch, near)
        watch.close()
        return received

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(run(loop)) == b"ab"


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_descriptor_whose_number_is_used_again_is_not_confused(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> None:
        numbers = set()
        for _ in range(5):
            near, far = socket.socketpair()
            numbers.add(near.fileno())
            watch = SocketWatch(near.fileno())
            far.send(b"a")
            assert await read(watch, near) == b"a"
            # In the order of a connection that ends: first libpq, later the loop side.
            near.close()
            successor, other = socket.socketpair()
            successor_watch = SocketWatch(successor.fileno())
            other.send(b"b")
            assert await read(successor_watch, successor) == b"b"
            for each in (watch, successor_watch, far, successor, other):
                each.close()
        assert len(numbers) < 5, "no number was used again"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_loops_may_use_it_one_after_another(pair: Pair) -> None:
    near, far = pair
    watch = SocketWatch(near.fileno())
    for byte in (b"a", b"b"):
        far.send(byte)
        assert uvloop.run(read(watch, near)) == byte
    watch.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_that_was_reset_is_reported_again_and_again(
    run: Callable[[Coroutine[None, None, None]], None],
) -> None:
    async def waits_after_a_reset() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        watch = SocketWatch(client.fileno())
        ready = asyncio.Event()
        watch.begin(ready.set)
        server.send(b"the last words")
        # Closing then sends a reset.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        async with asyncio.timeout(5):
            for _ in range(3):
                await ready.wait()
                watch.end()
                ready.clear()
                watch.begin(ready.set)
        watch.close()
        client.close()

    run(waits_after_a_reset())
