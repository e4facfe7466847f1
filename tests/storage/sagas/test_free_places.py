"""A place that becomes free is taken at once, and no owner has more than its own, whatever happens
at the same moment."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga import rows
from mesh.saga.definition import Definition, Move, NewSaga, Saga, State
from mesh.saga.runner import SagaLimits, SagaRunner
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.sagas.order_saga import SCHEMA

T = TypeVar("T")
TURNS = 10
"""Of the event loop. More than it takes until everything waits for the database or the test."""


class HeldBack:
    """A database whose answers arrive when the test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads, self.moves = asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.moves.set()
        self.held_back_count = 0
        self.moved_count = 0
        """How many transactions have been answered."""

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        return await self._until(self.reads, await self._database.autocommit(work))

    async def transaction(self, work: Callable[[Cursor], T]) -> T:
        answer = await self._until(self.moves, await self._database.transaction(work))
        self.moved_count += 1
        return answer

    async def _until(self, gate: asyncio.Event, answer: T) -> T:
        self.held_back_count += not gate.is_set()
        await gate.wait()
        return answer


class Slow:
    """Sagas of one step, which ends when the test says so."""

    def __init__(self, database: Database) -> None:
        self.database = HeldBack(database)
        self.begun: list[str] = []
        """The owners whose steps have begun."""
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """The most steps of each owner at a time."""
        self.may_end: dict[str, asyncio.Event] = {}
        self.definition = Definition("order", "WAITING", {"WAITING": State(self._wait, {"ENDED"})})

    def runner(self, **limits: int) -> SagaRunner:
        return SagaRunner(
            cast(Database, self.database),
            [self.definition],
            limits=SagaLimits(step_seconds=60.0, lease_seconds=120.0, **limits),
        )

    async def _wait(self, saga: Saga, deadline: Deadline) -> Move:
        self.begun.append(saga.owner)
        self.running[saga.owner] += 1
        self.most |= self.running
        await self.may_end.setdefault(saga.owner, asyncio.Event()).wait()
        self.running[saga.owner] -= 1
        return Move(lambda cursor: "ENDED")

    def end(self, owner: str) -> None:
        self.may_end.setdefault(owner, asyncio.Event()).set()

    async def are_due(self, owners: Sequence[str]) -> None:
        """Adds a saga of each owner."""
        new = [NewSaga(str(uuid4()), owner) for owner in owners]
        await self.database.transaction(
            lambda cursor: rows.insert(cursor, "order", "WAITING", new, None)
        )
        self.database.moved_count = 0

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns when it is so, and all that follows from it at once has happened."""
        async with asyncio.timeout(5):
            while not is_so():
                await asyncio.sleep(0.01)
        for _ in range(TURNS):
            await asyncio.sleep(0)


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("free_places", SCHEMA)


@pytest.fixture
async def slow(schema: Database) -> Slow:
    await empty(schema)
    return Slow(schema)


async def refills_while_reading(slow: Slow, runner: SagaRunner) -> None:
    """Two of four sagas are driven. One ends, and the answer to who comes next is under way."""
    await slow.are_due("abcd")
    await runner.run_once()
    await slow.until(lambda: len(slow.begun) == 2)
    slow.database.reads.clear()
    slow.end(slow.begun[0])
    await slow.until(lambda: slow.database.held_back_count == 1)


async def test_a_place_that_is_freed_while_another_is_refilled_is_refilled_too(
    slow: Slow,
) -> None:
    runner = slow.runner(max_due=2)
    await refills_while_reading(slow, runner)
    slow.end(slow.begun[1])
    await slow.until(lambda: slow.database.moved_count == 2)
    slow.database.reads.set()
    await slow.until(lambda: sorted(slow.begun) == list("abcd"))
    await runner.close()


@pytest.mark.parametrize("first", ["reads", "moves"])
async def test_a_place_that_is_freed_in_the_turn_in_which_a_refill_ends_is_refilled(
    slow: Slow, first: str
) -> None:
    runner = slow.runner(max_due=2)
    await refills_while_reading(slow, runner)
    slow.database.moves.clear()
    slow.end(slow.begun[1])
    await slow.until(lambda: slow.database.held_back_count == 2)
    gates = [slow.database.reads, slow.database.moves]
    for gate in gates if first == "reads" else reversed(gates):
        gate.set()
    await slow.until(lambda: sorted(slow.begun) == list("abcd"))
    await runner.close()


async def test_a_place_that_is_freed_while_due_sagas_are_looked_for_is_refilled(
    slow: Slow,
) -> None:
    runner = slow.runner(max_due=2)
    await slow.are_due("a")
    await runner.run_once()
    await slow.until(lambda: slow.begun == ["a"])
    await runner.run_once()
    await slow.are_due("bc")
    slow.database.reads.clear()
    looking = asyncio.create_task(runner.run_once())
    await slow.until(lambda: slow.database.held_back_count == 1)
    slow.end("a")
    await slow.until(lambda: slow.database.moved_count == 1)
    slow.database.reads.set()
    await looking
    await slow.until(lambda: sorted(slow.begun) == list("abc"))
    await runner.close()


OF_OWNER = 3


async def begin(slow: Slow, runner: SagaRunner, owner: str, count: int) -> Mapping[str, Saga]:
    new = [NewSaga(str(uuid4()), owner) for _ in range(count)]
    return await slow.database.transaction(lambda cursor: runner.begin_all(cursor, "order", new))


async def has_ended(slow: Slow, runner: SagaRunner, count: int) -> None:
    """Returns when all sagas have ended, without the round of each second."""
    slow.end("a")
    await slow.until(lambda: len(slow.begun) == count and slow.running.total() == 0)
    assert slow.most["a"] == OF_OWNER
    await runner.close()


async def test_sagas_that_begin_in_several_transactions_at_once_stay_within_their_owners_bound(
    slow: Slow,
) -> None:
    runner = slow.runner(max_of_owner=OF_OWNER)
    begun = [await begin(slow, runner, "a", 2) for _ in range(3)]
    for saga in (saga for each in begun for saga in each.values()):
        runner.drive(saga)
    await slow.until(lambda: len(slow.begun) == OF_OWNER)
    await has_ended(slow, runner, 6)


async def test_sagas_that_begin_while_due_ones_are_leased_stay_within_their_owners_bound(
    slow: Slow,
) -> None:
    runner = slow.runner(max_of_owner=OF_OWNER)
    await slow.are_due("aa")
    slow.database.reads.clear()
    looking = asyncio.create_task(runner.run_once())
    await slow.until(lambda: slow.database.held_back_count == 1)
    for saga in (await begin(slow, runner, "a", 2)).values():
        runner.drive(saga)
    slow.database.reads.set()
    await looking
    await slow.until(lambda: len(slow.begun) == OF_OWNER)
    await has_ended(slow, runner, 4)
