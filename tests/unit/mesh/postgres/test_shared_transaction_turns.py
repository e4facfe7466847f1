"""Who is tried alone, whatever ends in the same turn of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import MeshError
from mesh.postgres.database import Database, LockTimeout
from mesh.postgres.shared_transactions import MAX_ALONE_IN_FLIGHT, SharedTransactions

T = TypeVar("T")
TURNS = 20
"""More than it takes until everything waits for the database."""


class HandEndedDatabase:
    """Its transactions end when the test says so."""

    def __init__(self) -> None:
        self.under_way: deque[asyncio.Future[None]] = deque()

    async def transaction(self, work: Callable[[Cursor], T], *, lock_timeout_ms: int) -> T:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way.append(ended)
        await ended
        return work(cast(Cursor, None))

    def end_next(self, *, times_out: bool) -> None:
        ended = self.under_way.popleft()
        if times_out:
            ended.set_exception(LockTimeout("held"))
        else:
            ended.set_result(None)


def echo(cursor: Cursor, requests: Sequence[int]) -> list[int | MeshError]:
    return list(requests)


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def play(rounds: Sequence[tuple[bool, Sequence[bool]]]) -> None:
    """In a round a request may arrive, and the oldest transactions end in one turn. Afterwards
    none times out."""
    database = HandEndedDatabase()
    transactions = SharedTransactions(cast(Database, database), echo, clock=lambda: 0.0)
    running: list[asyncio.Task[int]] = []
    for arrives, ends in rounds:
        if arrives:
            running.append(asyncio.create_task(transactions.run(len(running))))
            await settle()
        for times_out in ends[: len(database.under_way)]:
            database.end_next(times_out=times_out)
        await settle()
        assert len(database.under_way) <= 1 + MAX_ALONE_IN_FLIGHT
    while database.under_way:
        database.end_next(times_out=False)
        await settle()
    assert [each.done() for each in running] == [True] * len(running)
    assert await asyncio.gather(*running) == list(range(len(running)))


def test_a_request_set_aside_as_a_lone_transaction_ends_is_tried_alone() -> None:
    set_aside: tuple[bool, list[bool]] = (True, [True])
    both_end: tuple[bool, list[bool]] = (True, [False, True])
    asyncio.run(play([set_aside, both_end]))


def test_a_request_set_aside_waits_for_no_lone_transaction_that_is_under_way() -> None:
    async def two_alone() -> None:
        database = HandEndedDatabase()
        transactions = SharedTransactions(cast(Database, database), echo, clock=lambda: 0.0)
        running: list[asyncio.Task[int]] = []
        for number in range(MAX_ALONE_IN_FLIGHT):
            running.append(asyncio.create_task(transactions.run(number)))
            await settle()
            database.under_way.rotate(1)
            database.end_next(times_out=True)
            await settle()
        assert len(database.under_way) == MAX_ALONE_IN_FLIGHT
        while database.under_way:
            database.end_next(times_out=False)
        assert await asyncio.gather(*running) == list(range(MAX_ALONE_IN_FLIGHT))

    asyncio.run(two_alone())


@given(st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), max_size=3)), max_size=12))
def test_every_request_ends_whatever_ends_in_one_turn(
    rounds: list[tuple[bool, list[bool]]],
) -> None:
    asyncio.run(play(rounds))
