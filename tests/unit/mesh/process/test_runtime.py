"""The runtime of a process closes everything in reverse order, however the process ends."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from mesh.background import BackgroundTask, EndedByItself
from mesh.process.listening import ListenFailed
from mesh.process.runtime import STOP_SIGNALS, Entry, Runtime

LEFT_IN_ORDER = ["refuse new calls", "drain", "stop", "deregister", "close b", "close a"]


class Broken(Exception):
    """The error of a failing step."""


class Recorder:
    """A server and its registry entry that record their calls."""

    address = "127.0.0.1:7000"

    def __init__(self, start: Callable[[], Awaitable[object]] | None = None) -> None:
        """`start` is called when the server starts."""
        self.events: list[str] = []
        self.is_listed = asyncio.Event()
        self._start = start

    async def start(self) -> None:
        if self._start is not None:
            await self._start()

    async def refuse_new_calls(self) -> None:
        self.events.append("refuse new calls")

    async def stop(self, grace_seconds: float) -> None:
        assert grace_seconds > 0
        self.events.append("stop")

    def entry_at(self, address: str) -> Entry:
        assert address == self.address
        return RecordedEntry(self)

    def open(self, runtime: Runtime, name: str) -> None:
        runtime.callback(self.events.append, f"close {name}")


class RecordedEntry:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def start(self) -> None:
        self._recorder.is_listed.set()

    async def drain(self) -> None:
        self._recorder.events.append("drain")

    async def deregister(self) -> None:
        self._recorder.events.append("deregister")


async def live(recorder: Recorder, background: Callable[[], Awaitable[None]] | None = None) -> None:
    """Runs a process that opens a, then b, and serves."""

    async def work() -> None:
        assert background is not None
        await background()

    async with Runtime(notice_seconds=0.0) as runtime:
        recorder.open(runtime, "a")
        if background is not None:
            runtime.run_in_background(work)
        recorder.open(runtime, "b")
        await runtime.serve(recorder, recorder.entry_at)


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise Broken


async def fail_to_listen() -> None:
    raise ListenFailed("taken")


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_a_signal_makes_it_leave_in_order(number: signal.Signals) -> None:
    recorder = Recorder()
    process = asyncio.create_task(live(recorder))
    await recorder.is_listed.wait()
    signal.raise_signal(number)
    await process
    assert recorder.events == LEFT_IN_ORDER


async def test_a_signal_during_the_start_ends_it_there() -> None:
    recorder = Recorder(forever)
    process = asyncio.create_task(live(recorder))
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)
    await process
    assert recorder.events == ["stop", "close b", "close a"]
    assert not recorder.is_listed.is_set()


async def test_a_failed_start_closes_everything_that_was_opened() -> None:
    recorder = Recorder()

    async def start() -> None:
        async with Runtime() as runtime:
            recorder.open(runtime, "a")
            recorder.open(runtime, "b")
            await fail()
            recorder.open(runtime, "c")

    with pytest.raises(Broken):
        await start()
    assert recorder.events == ["close b", "close a"]


async def test_a_server_that_cannot_listen_is_stopped() -> None:
    recorder = Recorder(fail_to_listen)
    with pytest.raises(ListenFailed):
        await live(recorder)
    assert recorder.events == ["stop", "close b", "close a"]


async def test_a_server_is_stopped_when_it_cannot_be_registered() -> None:
    class Unlisted(Recorder):
        def entry_at(self, address: str) -> Entry:
            raise Broken

    recorder = Unlisted()
    with pytest.raises(Broken):
        await live(recorder)
    assert recorder.events == ["stop", "close b", "close a"]


async def test_a_background_task_that_fails_makes_it_leave_in_order_and_is_raised() -> None:
    recorder = Recorder()

    async def fail_once_listed() -> None:
        await recorder.is_listed.wait()
        await fail()

    with pytest.raises(Broken):
        await live(recorder, fail_once_listed)
    assert recorder.events == LEFT_IN_ORDER


async def test_a_background_task_that_fails_ends_the_start() -> None:
    recorder = Recorder(forever)
    with pytest.raises(Broken):
        await live(recorder, fail)
    assert recorder.events == ["stop", "close b", "close a"]


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["returns", "is cancelled"])
async def test_a_background_task_that_ends_by_itself_ends_the_process(is_cancelled: bool) -> None:
    recorder = Recorder()

    async def end_once_listed() -> None:
        await recorder.is_listed.wait()
        if is_cancelled:
            raise asyncio.CancelledError

    with pytest.raises(EndedByItself):
        await live(recorder, end_once_listed)
    assert recorder.events == LEFT_IN_ORDER


async def test_a_task_of_a_part_that_fails_ends_the_process() -> None:
    recorder = Recorder()

    async def fail_once_listed() -> None:
        await recorder.is_listed.wait()
        await fail()

    async def live_with_part() -> None:
        async with Runtime(notice_seconds=0.0) as runtime:
            part = BackgroundTask(fail_once_listed(), "part")
            runtime.push_async_callback(part.end)
            await runtime.serve(recorder, recorder.entry_at)

    with pytest.raises(Broken):
        await live_with_part()


async def test_an_error_of_a_short_lived_task_does_not_end_the_process() -> None:
    recorder = Recorder()
    process = asyncio.create_task(live(recorder))
    await recorder.is_listed.wait()
    asyncio.get_running_loop().call_exception_handler({"message": "a request failed"})
    await asyncio.wait([process], timeout=0.05)
    assert recorder.events == []
    signal.raise_signal(signal.SIGTERM)
    await process


async def test_a_background_task_ends_before_its_resources_are_closed() -> None:
    events: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            events.append("task")

    async with Runtime() as runtime:
        runtime.callback(events.append, "a")
        runtime.run_in_background(work)
        await asyncio.sleep(0)
    assert events == ["task", "a"]


@pytest.mark.parametrize("is_started", [False, True], ids=["starting", "serving"])
async def test_a_cancellation_is_raised_once_all_is_closed(is_started: bool) -> None:
    recorder = Recorder(None if is_started else forever)
    process = asyncio.create_task(live(recorder))
    await asyncio.sleep(0)
    if is_started:
        await recorder.is_listed.wait()
    process.cancel()
    with pytest.raises(asyncio.CancelledError):
        await process
    assert [event for event in recorder.events if event != "deregister"] == [
        "stop",
        "close b",
        "close a",
    ]


async def test_a_stop_does_not_hide_that_another_task_cancelled_the_start() -> None:
    recorder = Recorder()

    async def start() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with Runtime() as runtime:
            recorder.open(runtime, "a")
            runtime.stop()
            task.cancel()
            await forever()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(start())
    assert recorder.events == ["close a"]


async def test_a_close_that_fails_does_not_keep_the_others_from_being_closed() -> None:
    recorder = Recorder()

    async def open_and_close() -> None:
        async with Runtime() as runtime:
            recorder.open(runtime, "a")
            runtime.push_async_callback(fail)
            recorder.open(runtime, "b")

    with pytest.raises(Broken):
        await open_and_close()
    assert recorder.events == ["close b", "close a"]
