"""Who gets a slot for a stream: members have their own, strangers a part for each address."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.calls import AUTHORIZATION, CLIENT_ADDRESS, Metadata
from mesh.errors import Unavailable
from mesh.serving.callers import CallerBounds
from mesh.serving.streams import StreamOver, StreamSlots, TooManyStreams

BOUNDS = CallerBounds(members=3, strangers=4, address=2)
MEMBER = {AUTHORIZATION: "Bearer member", CLIENT_ADDRESS: "192.0.2.1"}


async def is_member(metadata: Metadata) -> bool:
    return AUTHORIZATION in metadata


def stranger(address: str) -> dict[str, str]:
    return {CLIENT_ADDRESS: address}


def made() -> StreamSlots:
    return StreamSlots(is_member, BOUNDS)


async def test_strangers_leave_the_slots_of_members() -> None:
    slots = made()
    async with AsyncExitStack() as open_streams:
        for number in range(4):
            await open_streams.enter_async_context(slots.slot(stranger(f"192.0.2.{number % 2}")))
        with pytest.raises(TooManyStreams, match="no members"):
            await open_streams.enter_async_context(slots.slot(stranger("192.0.2.9")))
        for _ in range(3):
            await open_streams.enter_async_context(slots.slot(MEMBER))
        with pytest.raises(TooManyStreams, match="members"):
            await open_streams.enter_async_context(slots.slot(MEMBER))
    async with slots.slot(stranger("192.0.2.9")), slots.slot(MEMBER):
        pass


async def test_one_stranger_leaves_slots_to_others() -> None:
    slots = made()
    async with AsyncExitStack() as open_streams:
        for number in (1, 2):
            address = f"2001:db8::{number}"
            await open_streams.enter_async_context(slots.slot(stranger(address)))
        with pytest.raises(TooManyStreams, match="this address"):
            await open_streams.enter_async_context(slots.slot(stranger("2001:db8::3")))
        async with slots.slot(stranger("2001:db8:0:1::1")):
            pass


@given(st.lists(st.tuples(st.sampled_from(["m", "a", "b", "c"]), st.booleans()), max_size=40))
async def test_slots_are_what_is_open_and_never_more(steps: list[tuple[str, bool]]) -> None:
    slots = made()
    running: dict[str, list[AsyncExitStack]] = {who: [] for who in "mabc"}
    for who, opens in steps:
        counts = Counter({each: len(stacks) for each, stacks in running.items()})
        if not opens:
            if running[who]:
                await running[who].pop().aclose()
            continue
        stack = AsyncExitStack()
        strangers = counts.total() - counts["m"]
        fits = counts["m"] < 3 if who == "m" else counts[who] < 2 and strangers < 4
        try:
            metadata = MEMBER if who == "m" else stranger(who)
            await stack.enter_async_context(slots.slot(metadata))
            running[who].append(stack)
            assert fits
        except TooManyStreams:
            assert not fits
    for stacks in running.values():
        for stack in stacks:
            await stack.aclose()


async def test_open_streams_can_be_ended() -> None:
    slots = made()
    is_open = asyncio.Event()

    async def stream() -> None:
        async with slots.slot(MEMBER):
            is_open.set()
            await asyncio.Event().wait()

    for end, error in ((slots.end_all, Unavailable), (None, asyncio.CancelledError)):
        is_open.clear()
        task = asyncio.create_task(stream())
        await is_open.wait()
        _ = task.cancel() if end is None else end()
        with pytest.raises(error):
            await task
    slots.end_all()


async def test_a_strangers_stream_ends_in_time_and_a_members_does_not() -> None:
    slots = made()
    with pytest.raises(StreamOver):
        async with slots.slot(stranger("192.0.2.1"), 0.01):
            await asyncio.Event().wait()
    async with slots.slot(MEMBER, 0.01):
        await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError, match="its own"):
        async with slots.slot(stranger("192.0.2.1"), 60):
            raise TimeoutError("its own")
