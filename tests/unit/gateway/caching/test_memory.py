"""The memory of answers: ages, shared calls, failures and bounds."""

import asyncio
from collections import Counter

import pytest

from gateway_http.caching.memory import AnswerMemory, Key, Source
from gateway_http.exchange import Response
from mesh.errors import Unavailable

ITEMS: Key = ("/items", "")
MAX_AGE_SECONDS = 0.1


class House:
    """A memory with a clock that tests move, in front of something that changes."""

    def __init__(self, **bounds: int) -> None:
        self.now = 1000.0
        self.version = 0
        self.call_count = 0
        self.failure: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.sources: Counter[Source] = Counter()
        self.memory = AnswerMemory(self._count, lambda: self.now, **bounds)

    def _count(self, source: Source) -> None:
        self.sources[source] += 1

    async def call(self) -> Response:
        self.call_count += 1
        version = self.version
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return Response(200, b"%d" % version)

    async def get(self, key: Key = ITEMS) -> bytes:
        known = self.memory.remembered(key, MAX_AGE_SECONDS)
        return (known or await self.memory.called(key, MAX_AGE_SECONDS, self.call)).body

    async def begun(self, count: int = 1) -> "list[asyncio.Task[bytes]]":
        """Requests that wait for the answer."""
        tasks = [asyncio.create_task(self.get()) for _ in range(count)]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks


async def test_an_answer_is_sent_again_until_it_is_too_old() -> None:
    house = House()
    assert await house.get() == b"0"
    house.version = 1
    house.now += 0.099
    assert await house.get() == b"0"
    house.now += 0.001
    assert await house.get() == b"1"
    assert house.sources == {Source.CALL: 2, Source.MEMORY: 1}


async def test_an_answer_is_as_old_as_its_call_and_not_as_its_arrival() -> None:
    house = House()
    house.may_answer.clear()
    (first,) = await house.begun()
    house.version = 1
    house.now += 0.09
    house.may_answer.set()
    assert await first == b"0"
    house.now += 0.02
    assert await house.get() == b"1"


async def test_requests_share_the_call_that_is_under_way() -> None:
    house = House()
    house.may_answer.clear()
    requests = await house.begun(5)
    house.may_answer.set()
    assert set(await asyncio.gather(*requests)) == {b"0"}
    assert house.sources == {Source.CALL: 1, Source.SHARED: 4}


async def test_a_call_that_began_too_long_ago_is_not_shared() -> None:
    house = House()
    house.may_answer.clear()
    (first,) = await house.begun()
    house.version = 1
    house.now += MAX_AGE_SECONDS
    (second,) = await house.begun()
    house.may_answer.set()
    assert (await first, await second) == (b"0", b"1")
    assert await house.get() == b"1", "the older answer, which came last or first, is not kept"


async def test_an_older_answer_that_arrives_last_is_not_remembered() -> None:
    house = House()
    house.may_answer.clear()
    (old,) = await house.begun()
    house.now += MAX_AGE_SECONDS
    house.version, slow = 1, house.may_answer
    house.may_answer = asyncio.Event()
    house.may_answer.set()
    async with asyncio.timeout(5):
        assert await house.get() == b"1"
    slow.set()
    await old
    assert await house.get() == b"1"
    assert house.call_count == 2


async def test_a_failure_is_shared_and_not_remembered() -> None:
    house = House()
    house.may_answer.clear()
    house.failure = Unavailable("away")
    requests = await house.begun(3)
    house.may_answer.set()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert house.call_count == 1
    house.failure = None
    assert await house.get() == b"0"


async def test_an_answer_does_not_outlive_its_age_while_calls_fail() -> None:
    house = House()
    await house.get()
    house.failure = Unavailable("away")
    house.now += MAX_AGE_SECONDS
    with pytest.raises(Unavailable):
        await house.get()


async def test_a_client_that_leaves_ends_nothing_that_others_wait_for() -> None:
    house = House()
    house.may_answer.clear()
    caller, leaving, *waiting = await house.begun(500)
    leaving.cancel()
    caller.cancel()
    await asyncio.wait([caller, leaving])
    house.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {b"0"}
    assert house.call_count == 1


async def test_an_answer_that_no_client_waits_for_any_more_is_remembered() -> None:
    house = House()
    house.may_answer.clear()
    (caller,) = await house.begun()
    caller.cancel()
    await asyncio.wait([caller])
    house.may_answer.set()
    await asyncio.sleep(0.01)
    assert await house.get() == b"0"
    assert house.call_count == 1


async def test_keys_are_apart() -> None:
    house = House()
    await house.get(("/chances", "banner_id=a"))
    house.version = 1
    assert await house.get(("/chances", "banner_id=b")) == b"1"
    assert await house.get(("/chances", "banner_id=a")) == b"0"


async def test_answers_and_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    house = House(max_answers=3, max_bytes=60)
    for number in range(5):
        await house.get((f"/{number}", ""))
        assert len(house.memory) <= 3
    await house.get(("/4", ""))
    assert house.call_count == 5
    await house.get(("/0", ""))
    assert house.call_count == 6
    await house.get(("/long", "q" * 50))
    assert len(house.memory) == 2
    await house.get(("/longer", "q" * 80))
    assert house.memory.size_bytes <= 60
    assert len(house.memory) == 2, "what cannot be kept drives out nothing"
    for _ in range(3):
        house.now += MAX_AGE_SECONDS
        await house.get(("/long", "q" * 50))
    assert house.memory.size_bytes <= 60
