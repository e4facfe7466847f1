"""Reads that are combined into one."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from mesh.errors import Internal, ResourceExhausted, Unavailable
from mesh.postgres import coalesced_reads
from mesh.postgres.coalesced_reads import CoalescedRead


class Shelf:
    """Answers when the test says so, and records the requests."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.open = asyncio.Event()
        self.fails = False
        self.is_cancelled = False

    async def read(self, keys: Collection[str]) -> Mapping[str, int]:
        self.asked.append(set(keys))
        await self.open.wait()
        if self.fails:
            raise Unavailable("away")
        if self.is_cancelled:
            raise asyncio.CancelledError
        return {key: len(self.asked) for key in keys if key != "nobody"}


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_during_a_read_go_with_the_next_read() -> None:
    shelf = Shelf()
    reads = CoalescedRead(shelf.read)
    first = asyncio.create_task(reads.get("a"))
    await settle()
    others = [asyncio.create_task(reads.get(key)) for key in ("a", "b", "b", "nobody")]
    await settle()
    shelf.open.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2, 2, 2, None]
    assert shelf.asked == [{"a"}, {"a", "b", "nobody"}]


async def test_a_caller_that_leaves_takes_no_answer_from_another() -> None:
    shelf = Shelf()
    reads = CoalescedRead(shelf.read)
    leaving, staying = (asyncio.create_task(reads.get("a")) for _ in range(2))
    await settle()
    leaving.cancel()
    shelf.open.set()
    assert await staying == 1


async def test_a_failed_read_fails_its_own_callers_and_no_later_one() -> None:
    shelf = Shelf()
    shelf.fails = True
    shelf.open.set()
    reads = CoalescedRead(shelf.read)
    with pytest.raises(Unavailable):
        await reads.get("a")
    shelf.fails = False
    assert await reads.get("a") == 2


async def test_a_read_that_is_cancelled_from_within_fails_those_who_asked() -> None:
    shelf = Shelf()
    shelf.is_cancelled = True
    shelf.open.set()
    reads = CoalescedRead(shelf.read)
    async with asyncio.timeout(2):
        with pytest.raises(Internal):
            await reads.get("a")
    shelf.is_cancelled = False
    assert await reads.get("a") == 2


async def test_a_read_takes_a_bounded_number_of_keys_and_more_wait_in_turn() -> None:
    shelf = Shelf()
    reads = CoalescedRead(shelf.read)
    asking = [
        asyncio.create_task(reads.get(str(number)))
        for number in range(coalesced_reads.MAX_KEYS + 1)
    ]
    await settle()
    shelf.open.set()
    await asyncio.gather(*asking)
    assert [len(keys) for keys in shelf.asked] == [coalesced_reads.MAX_KEYS, 1]


async def test_beyond_the_bound_a_read_is_refused_at_once() -> None:
    reads = CoalescedRead(Shelf().read)
    asking = [
        asyncio.create_task(reads.get(str(number)))
        for number in range(coalesced_reads.MAX_KEYS + coalesced_reads.MAX_WAITING)
    ]
    await settle()
    asking += [asyncio.create_task(reads.get(f"more {number}")) for number in range(300)]
    await settle()
    with pytest.raises(ResourceExhausted, match="Too many reads"):
        await reads.get("too much")
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
