"""The deadline of a method: how it ends, and the error."""

import asyncio
from time import monotonic

import pytest

from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded
from tests.unit.mesh.echo import ECHO, Callers, Echo, echo_dispatcher


class Link:
    def __init__(self) -> None:
        self.callers = Callers()
        self.echo = Echo()
        self.dispatcher = echo_dispatcher(self.callers.key, self.echo)

    async def call(self, request: bytes, seconds: float) -> bytes:
        deadline = Deadline.after(seconds)
        return await self.dispatcher.handle(ECHO, request, self.callers.metadata, deadline)


async def test_a_deadline_ends_the_method_and_leaves_no_trace_in_the_task() -> None:
    link = Link()
    began = monotonic()
    with pytest.raises(DeadlineExceeded):
        await link.call(b"wait", 0.05)
    assert monotonic() - began < 5.0
    assert link.echo.cancelled.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await link.call(b"hi", 5.0) == b"echo hi"


async def test_a_deadline_that_was_kept_ends_nothing_later() -> None:
    assert await Link().call(b"hi", 0.05) == b"echo hi"
    await asyncio.sleep(0.1)


async def test_a_callers_cancellation_is_no_deadline() -> None:
    link = Link()
    calling = asyncio.create_task(link.call(b"wait", 5.0))
    await asyncio.sleep(0.02)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_cancellation_in_the_very_moment_of_the_deadline_wins() -> None:
    link = Link()
    calling = asyncio.create_task(link.call(b"wait", 0.05))
    asyncio.get_running_loop().call_later(0.04, _cancel_late, calling)
    with pytest.raises(asyncio.CancelledError):
        await calling


def _cancel_late(task: "asyncio.Task[bytes]") -> None:
    """Blocks the event loop until after the deadline, so both events come in one iteration."""
    give_up_at = monotonic() + 0.05
    while monotonic() < give_up_at:
        pass
    task.cancel()


async def test_a_method_that_outlives_its_cancellation_gives_its_answer() -> None:
    link = Link()

    async def stubborn(request: bytes, call: object) -> bytes:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            return b"after all"
        return b""

    link.echo.answer = stubborn  # type: ignore[method-assign]
    link.dispatcher = echo_dispatcher(link.callers.key, link.echo)
    assert await link.call(b"hi", 0.05) == b"after all"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
