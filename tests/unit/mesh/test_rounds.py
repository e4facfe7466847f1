"""Rounds go on whatever fails in them, and the log says whose they are."""

import asyncio

from structlog.testing import capture_logs

from mesh.errors import Unavailable
from mesh.rounds import keep_running


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
