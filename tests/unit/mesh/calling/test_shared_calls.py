"""Calls that concurrent requests share."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar

import pytest

from mesh.calling.shared_calls import SharedCalls
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, Internal, ResourceExhausted, Unavailable

trace: ContextVar[str] = ContextVar("trace", default="")


class Service:
    """Negates numbers, when it is let; -1 makes it fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.traces: list[str] = []
        self.deadlines: list[float] = []
        self.may_answer = asyncio.Event()

    async def call(self, requests: Sequence[int], deadline: Deadline) -> Sequence[int]:
        self.batches.append(list(requests))
        self.traces.append(trace.get())
        self.deadlines.append(deadline.remaining_seconds())
        await self.may_answer.wait()
        if -1 in requests:
            raise Unavailable("-1")
        return [-number for number in requests]


def soon() -> Deadline:
    return Deadline.after(5.0)


async def begin(calls: SharedCalls[int, int], *numbers: int) -> "list[asyncio.Task[int]]":
    tasks = [asyncio.create_task(calls.run(number, soon())) for number in numbers]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_requests_that_arrive_meanwhile_share_the_next_call() -> None:
    service = Service()
    calls = SharedCalls(service.call, max_calls=2, max_batch=3)
    tasks = await begin(calls, 1, 2, 3, 4, 5, 6)
    assert service.batches == [[1], [2]], "no lone request waits"
    service.may_answer.set()
    assert await asyncio.gather(*tasks) == [-1, -2, -3, -4, -5, -6]
    assert service.batches == [[1], [2], [3, 4, 5], [6]]


async def test_a_call_without_an_answer_leaves_the_others_room() -> None:
    service = Service()
    stuck, calls = asyncio.Event(), 0

    async def call(requests: Sequence[int], deadline: Deadline) -> Sequence[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            await stuck.wait()
        service.may_answer.set()
        return await service.call(requests, deadline)

    shared = SharedCalls(call)
    first, *others = await begin(shared, 1, 2, 3, 4)
    assert await asyncio.gather(*others) == [-2, -3, -4]
    assert not first.done()
    stuck.set()
    assert await first == -1


async def test_an_error_reaches_every_request_of_its_call_and_no_other() -> None:
    service = Service()
    service.may_answer.set()
    calls = SharedCalls(service.call, max_calls=1)
    tasks = await begin(calls, 1, -1, 2)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == -1
    assert [type(each) for each in results[1:]] == [Unavailable, Unavailable]
    assert await calls.run(3, soon()) == -3


async def test_a_caller_waits_for_its_own_deadline_and_the_call_for_the_longest() -> None:
    service = Service()
    calls = SharedCalls(service.call, max_calls=1)
    [first] = await begin(calls, 1)
    longest = asyncio.create_task(calls.run(2, Deadline.after(60.0)))
    with pytest.raises(DeadlineExceeded):
        await calls.run(3, Deadline.after(0.02))
    service.may_answer.set()
    assert [await first, await longest] == [-1, -2]
    assert service.batches == [[1], [2]], "who has gone is not asked for"
    assert service.deadlines[1] > 50.0


async def test_a_call_has_the_trace_of_its_first_request() -> None:
    service = Service()
    calls = SharedCalls(service.call, max_calls=1)
    tasks = []
    for number in range(3):
        trace.set(f"trace-{number}")
        tasks += await begin(calls, number)
    service.may_answer.set()
    await asyncio.gather(*tasks)
    assert (service.batches, service.traces) == ([[0], [1, 2]], ["trace-0", "trace-1"])


async def test_requests_beyond_the_bound_are_refused_at_once() -> None:
    service = Service()
    calls = SharedCalls(service.call, max_calls=1, max_waiting=2)
    tasks = await begin(calls, 1, 2, 3)
    with pytest.raises(ResourceExhausted):
        await calls.run(4, soon())
    service.may_answer.set()
    assert await asyncio.gather(*tasks) == [-1, -2, -3]


async def test_a_call_that_is_cancelled_leaves_nobody_waiting() -> None:
    service = Service()
    calls = SharedCalls(service.call, max_calls=1)
    [waiting] = await begin(calls, 1)
    [call] = [each for each in asyncio.all_tasks() if each.get_name() == "shared-call"]
    call.cancel()
    with pytest.raises(Internal):
        await waiting
    with suppress(asyncio.CancelledError):
        await call
    service.may_answer.set()
    assert await calls.run(2, soon()) == -2
