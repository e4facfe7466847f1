"""One timer for the times at which the calls of a lane expire."""

import asyncio
import time

import pytest

from mesh.lanes.expiries import SPARE_COUNT, Expiries
from tests.unit.registry.running import until


class Calls:
    """Calls that are under way until they expire or end, with the times at which they expired."""

    def __init__(self) -> None:
        self.under_way: dict[int, float] = {}
        self.expired: list[tuple[int, float]] = []
        self.expiries = Expiries(self.under_way.keys(), self._expire, time.monotonic)

    def begin(self, call_id: int, seconds: float) -> None:
        self.under_way[call_id] = time.monotonic() + seconds
        self.expiries.add(call_id, self.under_way[call_id])

    def _expire(self, call_id: int) -> None:
        due_at = self.under_way.pop(call_id)
        self.expired.append((call_id, time.monotonic() - due_at))


@pytest.mark.parametrize(
    "seconds",
    [(0.05, 0.1, 0.15), (1.0, 0.5, 0.02), (0.1, 0.15, 0.05), (0.05, 0.1, 0.0001), (0.0, 0.1, 0.0)],
)
async def test_each_call_expires_at_its_time_in_whatever_order_they_began(
    seconds: tuple[float, ...],
) -> None:
    calls = Calls()
    for number, each in enumerate(seconds):
        calls.begin(number, each)
    await until(lambda: not calls.under_way)
    assert [number for number, _ in calls.expired] == sorted(
        range(len(seconds)), key=lambda number: seconds[number]
    )
    assert all(0 <= late_seconds < 0.4 for _, late_seconds in calls.expired)


async def test_a_call_that_has_ended_does_not_expire() -> None:
    calls = Calls()
    for number in range(4):
        calls.begin(number, 0.02)
    del calls.under_way[0], calls.under_way[2]
    await asyncio.sleep(0.1)
    assert [number for number, _ in calls.expired] == [1, 3]
    assert len(calls.expiries) == 0


async def test_a_call_may_be_given_more_time_when_it_expires() -> None:
    ended: list[int] = []
    under_way = {1: 0, 2: 0}

    def expire(call_id: int) -> None:
        under_way[call_id] += 1
        if call_id == 1 and under_way[call_id] == 1:
            expiries.add(call_id, time.monotonic() + 0.2)
        else:
            del under_way[call_id]
            ended.append(call_id)

    expiries = Expiries(under_way.keys(), expire, time.monotonic)
    for call_id in (1, 2):
        expiries.add(call_id, time.monotonic() + 0.02 * call_id)
    await asyncio.sleep(0.1)
    assert ended == [2]
    await asyncio.sleep(0.2)
    assert ended == [2, 1]


async def test_times_of_calls_that_have_ended_are_not_kept() -> None:
    calls = Calls()
    calls.begin(-1, 3600.0)
    for number in range(3 * SPARE_COUNT):
        calls.begin(number, 3600.0)
        del calls.under_way[number]
        assert len(calls.expiries) <= 2 * 2 + SPARE_COUNT
    calls.expiries.close()


async def test_a_closed_one_expires_nothing() -> None:
    calls = Calls()
    calls.begin(1, 0.02)
    calls.expiries.close()
    await asyncio.sleep(0.1)
    assert calls.expired == []
