"""Work that waits in a fiber, and what is forbidden there."""

import asyncio
import socket
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
import uvloop
from greenlet import getcurrent

from mesh.postgres.fibers import Fiber, Fibers, WaitedTooLong, at_most


class WatchfulLoop(asyncio.SelectorEventLoop):
    """Records whether a fiber, and not the loop's side, added a reader or writer."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, bool]] = []

    def add_reader(  # type: ignore[override]  # typed for any arguments of a callback
        self, fd: Any, callback: Callable[..., Any], *args: Any
    ) -> Any:
        self.told.append(("add", isinstance(getcurrent(), Fiber)))
        return super().add_reader(fd, callback, *args)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> asyncio.TimerHandle:
        self.told.append(("wait until", isinstance(getcurrent(), Fiber)))
        return super().call_at(when, callback, *args, **options)

    def call_soon(  # type: ignore[override]  # as above
        self, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> asyncio.Handle:
        self.told.append(("call", isinstance(getcurrent(), Fiber)))
        return super().call_soon(callback, *args, **options)

    def remove_reader(self, fd: Any) -> bool:
        self.told.append(("remove", isinstance(getcurrent(), Fiber)))
        return super().remove_reader(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def _read_twice(near: socket.socket) -> bytes:
    fiber = getcurrent()
    assert isinstance(fiber, Fiber)
    received = b""
    for _ in range(2):
        fiber.wait_for(near.fileno(), to_write=False)
        received += near.recv(1)
    return received


async def _echoed(near: socket.socket, far: socket.socket) -> bytes:
    outcome = Fibers().start(lambda: _read_twice(near), 5)
    for byte in (b"a", b"b"):
        assert not outcome.done()
        far.send(byte)
        await asyncio.sleep(0.01)
    return await asyncio.wait_for(outcome, 5)


def test_a_fiber_leaves_the_loop_to_its_own_side(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    # libuv would write into a frame that the fiber's own stack has taken the place of.
    loop = WatchfulLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        loop.told.clear()
        assert runner.run(_echoed(*pair)) == b"ab"
    assert loop.told.count(("add", False)) == loop.told.count(("remove", False)) == 2
    assert ("wait until", False) in loop.told
    assert not any(within for _, within in loop.told)


def test_a_fiber_waits_on_the_loop_of_the_services(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert uvloop.run(_echoed(*pair)) == b"ab"


def test_a_fiber_that_waited_too_long_gets_an_error_and_goes_on(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair

    def work() -> bytes:
        fiber = getcurrent()
        assert isinstance(fiber, Fiber)
        with pytest.raises(WaitedTooLong), at_most(0.01):
            fiber.wait_for(near.fileno(), to_write=False)
        far.send(b"ab")
        return _read_twice(near)

    async def run() -> bytes:
        return await asyncio.wait_for(Fibers().start(work, 5), 5)

    assert uvloop.run(run()) == b"ab"


def test_a_fiber_ends_at_its_own_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    ended = []

    async def run() -> bytes:
        outcome = Fibers().start(lambda: _read_twice(near), 0.01, lambda: ended.append(True))
        return await asyncio.wait_for(outcome, 5)

    with pytest.raises(WaitedTooLong):
        uvloop.run(run())
    assert ended == [True]


_caller = ContextVar("_caller", default="")


def test_a_fiber_does_one_work_after_another_each_in_its_own_context() -> None:
    def work() -> tuple[object, str]:
        caller = _caller.get()
        _caller.set("changed by the work before")
        return getcurrent(), caller

    async def run() -> None:
        fibers = Fibers()
        _caller.set("first")
        first, first_caller = await fibers.start(work, 5)
        _caller.set("second")
        second, second_caller = await fibers.start(work, 5)
        assert (first_caller, second_caller) == ("first", "second")
        assert _caller.get() == "second"
        assert first is second

    uvloop.run(run())


def test_a_fiber_whose_work_failed_does_the_next() -> None:
    def fail() -> None:
        raise LookupError("the work's own")

    async def run() -> list[object]:
        fibers = Fibers()
        failed = fibers.start(fail, 5)
        return [
            await fibers.start(getcurrent, 5),
            *await asyncio.gather(failed, return_exceptions=True),
        ]

    fiber, error = uvloop.run(run())
    assert isinstance(fiber, Fiber)
    assert isinstance(error, LookupError)


def test_works_that_wait_at_the_same_time_have_a_fiber_each(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair

    async def run() -> tuple[bytes, bytes]:
        fibers = Fibers()
        outcomes = [fibers.start(partial(_read_twice, end), 5) for end in pair]
        for end in (far, near):
            end.send(b"ab")
        first, second = await asyncio.wait_for(asyncio.gather(*outcomes), 5)
        return first, second

    assert uvloop.run(run()) == (b"ab", b"ab")


def test_what_a_work_refers_to_does_not_outlive_it() -> None:
    class Held:
        """Something large."""

    async def run() -> None:
        fibers = Fibers()
        held = Held()
        gone = weakref.ref(held)
        await fibers.start(partial(str, held), 5)
        del held
        assert gone() is None

    asyncio.run(run())
