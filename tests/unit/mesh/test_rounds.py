"""Rounds go on whatever fails in them, and the log says whose they are."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from structlog.testing import capture_logs

from mesh import rounds
from mesh.errors import Unavailable
from mesh.rounds import Due, keep_running, pause, until_tick


async def test_a_failed_round_is_logged_by_name_and_delays_no_other() -> None:
    counts = {"away": 0, "bug": 0, "fine": 0}
    are_enough = asyncio.Event()

    async def away() -> None:
        counts["away"] += 1
        raise Unavailable("away", reason="AWAY")

    async def bug() -> None:
        counts["bug"] += 1
        raise LookupError

    async def fine() -> None:
        counts["fine"] += 1
        if counts["fine"] == 3:
            are_enough.set()
            await asyncio.Event().wait()

    with capture_logs() as lines:
        running = asyncio.create_task(
            keep_running("retention", away, bug, fine, interval_seconds=0.0)
        )
        async with asyncio.timeout(5):
            await are_enough.wait()
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert counts == {"away": 3, "bug": 3, "fine": 3}
    assert {(line["event"], line["work"]) for line in lines} == {("fail_round", "retention")}
    assert [line["log_level"] for line in lines] == ["warning", "error"] * 3
    assert lines[0]["reason"] == "AWAY"
    assert isinstance(lines[1]["exc_info"], LookupError)


async def counted_while(act: Callable[[Due], None], due: Due) -> int:
    """How often work that waits for `due` runs: at once, and again around each call of `act`."""
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1

    running = asyncio.create_task(keep_running("work", work, due=due))
    for _ in range(3):
        await asyncio.sleep(0.01)
        act(due)
    await asyncio.sleep(0.01)
    running.cancel()
    return count


async def test_work_runs_when_its_question_or_its_own_process_says_that_it_is_due() -> None:
    assert await counted_while(lambda due: due.note(True), Due()) == 4
    assert await counted_while(lambda due: due.note(False), Due()) == 1
    assert await counted_while(lambda due: due.note(False), Due(also=lambda: True)) == 4


async def test_work_runs_now_and_then_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SWEEP_SECONDS", 0.005)
    assert await counted_while(lambda due: None, Due()) > 1


async def test_what_becomes_due_while_the_work_runs_is_not_lost() -> None:
    due = Due()
    due.note(True)
    async with asyncio.timeout(1):
        await due.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await due.wait()


async def test_pauses_of_one_process_end_together() -> None:
    time = asyncio.get_running_loop().time
    ends = {round((time() + until_tick(0.25)) / 0.25, 3) for _ in range(3)}
    assert all(end == int(end) for end in ends)
    assert 0.0125 <= until_tick(0.25) <= 0.2625
    assert until_tick(0.0) == 0.0


def test_a_pause_that_ends_early_is_not_followed_by_a_tiny_one() -> None:
    async def count_pauses() -> int:
        time = asyncio.get_running_loop().time
        count, ends_at = 0, time() + 0.4
        while time() < ends_at:
            await pause(0.02)
            count += 1
        return count

    assert uvloop.run(count_pauses()) <= 21
