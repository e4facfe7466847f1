"""One connection of the load: what it counts, its errors, and how it continues after one."""

import asyncio
import itertools
import time

import pytest

from proof.bench.load.closed_loop_client import ANSWER_TIMEOUT_SECONDS, ClosedLoopClient
from proof.bench.load.window import Window
from tests.unit.proof.load.piecewise_server import piecewise_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nbusy"


class Recorded(Window):
    """A window whose operations can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []
        self.errors: list[str] = []

    def record(self, latency_seconds: float) -> None:
        self.noted.append(latency_seconds)

    def record_error(self, error: str) -> None:
        self.errors.append(error)

    async def until(self, ok_count: int, error_count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.noted) < ok_count or len(self.errors) < error_count:
                await asyncio.sleep(0.005)


class Clock:
    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.ahead_seconds


def _asker(
    port: int, window: Window, clock: Clock | None = None, expected: bytes = b""
) -> ClosedLoopClient:
    requests = itertools.repeat(b"x")
    return ClosedLoopClient("127.0.0.1", port, requests, window, clock or Clock(), expected)


async def _stop(client: ClosedLoopClient) -> None:
    client.stop()
    await asyncio.wait_for(client.stopped.wait(), 5)


async def test_it_asks_again_whenever_it_has_its_answer() -> None:
    window = Recorded()
    async with piecewise_server([[OK]] * 3) as port:
        client = _asker(port, window)
        client.start()
        await window.until(3, 0)
        await _stop(client)
    assert all(0 < latency < 5 for latency in window.noted)


async def test_another_status_is_an_error_and_it_goes_on_over_the_same_connection() -> None:
    window = Recorded()
    async with piecewise_server([[BUSY], [OK]]) as port:
        client = _asker(port, window)
        client.start()
        await window.until(1, 1)
        await _stop(client)
    assert window.errors[0] == "429 busy"


async def test_an_answer_without_the_expected_text_is_an_error() -> None:
    window = Recorded()
    pending = OK.replace(b"{}", b"[]")
    async with piecewise_server([[pending], [OK]]) as port:
        client = _asker(port, window, expected=b"{}")
        client.start()
        await window.until(1, 1)
        await _stop(client)
    assert window.errors[0] == "200 []"


async def test_a_broken_connection_is_an_error_and_it_goes_on_over_another() -> None:
    window = Recorded()
    async with piecewise_server([[OK[:10]]], [[OK]]) as port:
        client = _asker(port, window)
        client.start()
        await window.until(1, 1)
        await _stop(client)
    assert "ConnectionResetError" in window.errors[0]


async def test_a_refused_connection_is_an_error_and_it_still_stops() -> None:
    window = Recorded()
    async with piecewise_server() as port:
        pass
    client = _asker(port, window)
    client.start()
    await window.until(0, 1)
    await _stop(client)
    assert "refused" in window.errors[0].lower()


async def test_an_answer_that_is_overdue_is_an_error() -> None:
    window, clock = Recorded(), Clock()
    async with piecewise_server([[], [OK]]) as port:
        client = _asker(port, window, clock)
        client.start()
        async with asyncio.timeout(5):
            while not window.errors:
                client.give_up_if_late()
                clock.ahead_seconds += ANSWER_TIMEOUT_SECONDS + 1
                await asyncio.sleep(0.01)
        await _stop(client)
    assert window.errors[0] == "AnswerLate: no answer within 30 s"


async def test_stopping_waits_for_the_answer_under_way() -> None:
    window = Recorded()
    async with piecewise_server([[OK[:10], *([b""] * 10), OK[10:]]]) as port:
        client = _asker(port, window)
        client.start()
        await asyncio.sleep(0.02)
        assert not window.noted
        await _stop(client)
    assert len(window.noted) == 1
    assert window.errors == []


@pytest.mark.parametrize("answer", [OK, BUSY])
async def test_it_stops_at_any_moment(answer: bytes) -> None:
    window = Recorded()
    async with piecewise_server([[answer]] * 1000) as port:
        client = _asker(port, window)
        client.start()
        await _stop(client)
