"""Background work that ends is reported, unless its owner ended it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh import background
from mesh.background import ENDED_TASK, BackgroundTask, EndedByItself

Reports = list[dict[str, Any]]


@pytest.fixture
async def reports() -> AsyncIterator[Reports]:
    """What the event loop's error handler gets."""
    reports: Reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    yield reports
    loop.set_exception_handler(None)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_an_error_is_reported_with_the_tasks_name(reports: Reports) -> None:
    async def fail() -> None:
        raise KeyError

    task = BackgroundTask(fail(), "work")
    await settle()
    assert task.has_ended
    [report] = reports
    assert report[ENDED_TASK] == "work"
    assert isinstance(report["exception"], KeyError)


async def test_a_return_is_reported_unless_it_is_awaited(reports: Reports) -> None:
    event = asyncio.Event()
    task = BackgroundTask(wait_for(event), "work")
    event.set()
    await task.finish(1.0)
    await settle()
    assert reports == []
    BackgroundTask(wait_for(event), "other")
    await settle()
    assert [(each[ENDED_TASK], type(each["exception"])) for each in reports] == [
        ("other", EndedByItself)
    ]


async def test_its_owner_may_end_it_more_than_once(reports: Reports) -> None:
    task = BackgroundTask(wait_for(asyncio.Event()), "work")
    await task.end()
    await task.end()
    assert task.has_ended
    assert reports == []


async def test_work_in_which_a_cancellation_was_lost_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "ASK_AGAIN_SECONDS", 0.01)
    began = asyncio.Event()

    async def lose_one() -> None:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = BackgroundTask(lose_one(), "losing")
    await began.wait()
    async with asyncio.timeout(5):
        await task.end()
    assert task.has_ended
