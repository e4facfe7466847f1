"""The turns of callers within an iteration of the event loop."""

import asyncio

from gateway_http.edge.callers import Caller, Kind
from gateway_http.edge.turns import Turns

PER_ITERATION = 4
LOUD = Caller(Kind.ADDRESS, "192.0.2.1")
OTHER = Caller(Kind.ADDRESS, "192.0.2.2")


class Begun:
    """The requests that have begun, in their order, with the iteration of the loop."""

    def __init__(self) -> None:
        self.turns = Turns(PER_ITERATION)
        self.order: list[tuple[int, Caller, int]] = []
        self.iteration = 0

    async def count_iterations(self) -> None:
        while True:
            self.iteration += 1
            await asyncio.sleep(0)

    async def begin(self, caller: Caller, number: int) -> None:
        turn = self.turns.begin(caller)
        if turn is not None:
            await turn
        self.order.append((self.iteration, caller, number))


async def test_a_caller_with_many_requests_begins_a_few_in_each_iteration() -> None:
    begun = Begun()
    counting = asyncio.create_task(begun.count_iterations())
    await asyncio.gather(*(begun.begin(LOUD, number) for number in range(10 * PER_ITERATION)))
    counting.cancel()
    assert [number for _, _, number in begun.order] == list(range(10 * PER_ITERATION))
    iterations = [iteration for iteration, _, _ in begun.order]
    assert max(iterations.count(each) for each in iterations) <= PER_ITERATION
    assert begun.turns.waiting_count == 0


async def test_another_caller_does_not_wait_for_them() -> None:
    begun = Begun()
    crowd = [asyncio.create_task(begun.begin(LOUD, number)) for number in range(400)]
    await asyncio.sleep(0)
    before = len(begun.order)
    await begun.begin(OTHER, 0)
    assert len(begun.order) - before <= 1
    await asyncio.gather(*crowd)
    assert len(begun.order) == 401


async def test_a_request_whose_client_has_left_takes_no_turn() -> None:
    begun = Begun()
    crowd = [asyncio.create_task(begun.begin(LOUD, number)) for number in range(12)]
    await asyncio.sleep(0)
    for each in crowd[PER_ITERATION:-1]:
        each.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(crowd)
    assert [number for _, _, number in begun.order] == [0, 1, 2, 3, 11]
    assert begun.turns.waiting_count == 0


async def test_turns_go_on_after_a_pause() -> None:
    begun = Begun()
    for _ in range(3):
        async with asyncio.timeout(5):
            await asyncio.gather(*(begun.begin(LOUD, number) for number in range(9)))
        await asyncio.sleep(0.01)
    assert len(begun.order) == 27
