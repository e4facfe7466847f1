"""The client's side of a lane: batching, bounds, cancelled calls, and the server's messages."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from mesh.calling.transport import ConnectionBroken, NoAnswer, UnfitMetadata
from mesh.lanes.lane import Lane
from mesh.lanes.limits import LaneFull
from protos.mesh.v1 import lane_pb2
from tests.unit.mesh.echo import ECHO
from tests.unit.mesh.lanes.lane_link import Link, ScriptedStream, begin
from tests.unit.registry.running import until


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link()
    await link.server.start()
    yield link
    await link.transport.close()
    await link.server.stop(0)


async def test_calls_that_are_made_together_share_a_message() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    calls = begin(lane, *(b"%d" % number for number in range(300)))
    await until(lambda: sum(len(batch.calls) for batch in stream.written) == 300)
    assert [len(batch.calls) for batch in stream.written] == [256, 44]
    assert [call.request for call in stream.written[1].calls] == [
        b"%d" % number for number in range(256, 300)
    ]
    stream.answer(*range(300, 0, -1))
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(1, 301)]
    await lane.close()


async def test_calls_during_a_write_go_with_the_next_message() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    stream.may_write.clear()
    calls = begin(lane, b"first")
    await asyncio.sleep(0.01)
    calls += begin(lane, b"second", b"third")
    await asyncio.sleep(0.01)
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    sent = [[call.request for call in batch.calls] for batch in stream.written]
    assert sent == [[b"first"], [b"second", b"third"]]
    await lane.close()
    await asyncio.wait(calls)


async def test_calls_that_wait_for_a_lane_are_bounded_in_number_and_bytes() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream, max_unsent_calls=3, max_unsent_bytes=1000)
    calls = begin(lane, b"under way")
    await asyncio.sleep(0.01)
    calls += begin(lane, b"1", b"2", b"3")
    await asyncio.sleep(0.01)
    with pytest.raises(LaneFull) as caught:
        await lane.call(ECHO, b"4", {}, 5.0)
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("LANE_FULL", 1.0)
    calls.pop().cancel()
    await asyncio.sleep(0.01)
    calls += begin(lane, b"y" * 2000)
    calls.pop(1).cancel()
    await asyncio.sleep(0.01)
    with pytest.raises(LaneFull):
        await lane.call(ECHO, b"5", {}, 5.0)
    await lane.close()
    await asyncio.wait(calls)


async def test_a_call_withdrawn_before_it_was_sent_is_never_sent() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream)
    (sent,) = begin(lane, b"sent")
    await asyncio.sleep(0.01)
    cancelled, late, kept = [
        *begin(lane, b"cancelled"),
        *begin(lane, b"late", seconds=0.02),
        *begin(lane, b"kept"),
    ]
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(NoAnswer) as caught:
        await late
    assert not caught.value.was_sent
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    assert [call.request for call in stream.written[1].calls] == [b"kept"]
    assert not stream.written[1].cancelled_ids
    await lane.close()
    await asyncio.wait((sent, cancelled, kept))


async def test_the_server_learns_of_calls_withdrawn_after_they_were_sent() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    (cancelled,), (late,) = begin(lane, b"cancelled"), begin(lane, b"late", seconds=0.2)
    await until(lambda: bool(stream.written))
    cancelled.cancel()
    await until(lambda: len(stream.written) == 2)
    with pytest.raises(NoAnswer) as caught:
        await late
    assert caught.value.was_sent
    await until(lambda: len(stream.written) == 3)
    assert [list(batch.cancelled_ids) for batch in stream.written] == [[], [1], [2]]
    stream.answer(1, 2)  # too late, and no error
    (answered,) = begin(lane, b"next")
    await until(lambda: len(stream.written) == 4)
    stream.answer(3)
    assert await answered == b"3"
    await lane.close()


async def test_a_timeout_counts_from_the_call_and_not_from_the_message() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream)
    begin(lane, b"under way")
    await asyncio.sleep(0.01)
    calls = begin(lane, b"waits", seconds=1.0)
    await asyncio.sleep(0.3)
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    assert stream.written[1].calls[0].timeout_ms <= 700
    await lane.close()
    await asyncio.wait(calls)


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_process_that_stood_still_reads_before_it_gives_calls_up(is_answered: bool) -> None:
    stood_still_seconds = 0.0
    stream = ScriptedStream()
    lane = Lane(stream, clock=lambda: time.monotonic() + stood_still_seconds)
    (call,) = begin(lane, b"under way", seconds=0.2)
    await until(lambda: bool(stream.written))
    stood_still_seconds = 5.0
    await asyncio.sleep(0.3)  # its timer has come
    assert not call.done()
    if is_answered:
        stream.answer(1)
        assert await call == b"1"
    else:
        with pytest.raises(NoAnswer) as caught:
            await call
        assert caught.value.was_sent
        assert not caught.value.showed_no_life
    await lane.close()


async def test_a_broken_lane_distinguishes_sent_from_unsent_calls() -> None:
    stream = ScriptedStream()
    ended = asyncio.Event()
    lane = Lane(stream, on_end=ended.set)
    (sent,) = begin(lane, b"sent")
    await until(lambda: bool(stream.written))
    stream.may_write.clear()
    (being_written,) = begin(lane, b"being written")
    await asyncio.sleep(0.01)
    (unsent,) = begin(lane, b"unsent")
    await asyncio.sleep(0.01)
    stream.break_off()
    for call, was_sent in ((sent, True), (being_written, True), (unsent, False)):
        with pytest.raises(ConnectionBroken) as caught:
            await call
        assert caught.value.was_sent is was_sent
    assert ended.is_set()
    with pytest.raises(ConnectionBroken) as caught:
        await lane.call(ECHO, b"next", {}, 5.0)
    assert not caught.value.was_sent
    await lane.close()


async def test_an_invalid_message_of_the_server_ends_the_lane() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    calls = begin(lane, b"sent")
    await until(lambda: bool(stream.written))
    stream.say_bytes(b"\xff\xff")
    with pytest.raises(ConnectionBroken):
        await calls[0]
    assert not lane.takes_calls
    await lane.close()


async def test_a_slow_call_is_distinguished_from_a_silent_server_by_signs_of_life() -> None:
    for gives_signs in (True, False):
        stream = ScriptedStream()
        lane = Lane(stream)
        (slow,) = begin(lane, b"slow", seconds=1.6)
        answered_count = 0
        while not slow.done():
            asking = sum(batch.ping for batch in stream.written)
            if gives_signs and asking > answered_count:
                answered_count = asking
                stream.say(lane_pb2.ReplyBatch())
            await asyncio.sleep(0.01)
        assert asking == (answered_count if gives_signs else 1)
        with pytest.raises(NoAnswer) as caught:
            await slow
        assert caught.value.showed_no_life is not gives_signs
        await lane.close()


async def test_metadata_that_cannot_be_written_fails_its_own_call_alone(link: Link) -> None:
    waiting = asyncio.create_task(link.call(b"wait"))
    await until(lambda: bool(link.echo.calls))
    for text in ("caf\u00e9", "\udc80"):
        for metadata in ({"x": text}, {text: "x"}):
            with pytest.raises(UnfitMetadata):
                await link.transport.call(link.address, ECHO, b"hi", metadata, 5.0)
    link.echo.release.set()
    assert await waiting == b"echo wait"
