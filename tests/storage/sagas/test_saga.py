"""Sagas on a real PostgreSQL: despite crashes, each step takes effect once."""

import asyncio

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from structlog.testing import capture_logs

from mesh.deadlines import Deadline
from mesh.errors import DependencyAway, Unavailable
from mesh.postgres.database import Database
from mesh.saga import rows, turns
from mesh.saga.definition import (
    Definition,
    Move,
    NewSaga,
    Saga,
    State,
    StillWaiting,
)
from mesh.saga.runner import SagaLimits, SagaRunner
from tests.storage.asking import answer_of
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.holding import held
from tests.storage.sagas.order_saga import OWNER, QUICK, SAGA_ID, SCHEMA, OrderSaga


class Killed(BaseException):
    """Ends a task like the death of its process."""


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("sagas", SCHEMA)


@pytest.fixture
async def orders(schema: Database) -> OrderSaga:
    await empty(schema)
    return OrderSaga(schema)


async def test_a_saga_goes_from_step_to_step_to_its_end(orders: OrderSaga) -> None:
    runner = orders.runner()
    saga = await orders.begun(runner, wanted=3)
    ended = await runner.drive(saga)
    assert (ended.state, dict(ended.body)) == ("SETTLED", {"wanted": 3, "answer": 1})
    assert await orders.effects() == 1
    await runner.run_once()
    assert len(orders.asked) == 1, "what has ended is not taken up again"


async def test_the_question_is_true_while_a_saga_of_the_runner_is_due(orders: OrderSaga) -> None:
    runner = orders.runner()
    saga = await orders.begun(runner)
    assert not await answer_of(orders.database, runner.question), "its lease runs"
    await orders.database.autocommit(
        lambda cursor: cursor.execute("UPDATE saga SET due_at = now()")
    )
    assert await answer_of(orders.database, runner.question)
    assert not await answer_of(orders.database, turns.due_question(["another"]))
    await runner.run_once()
    assert not await answer_of(orders.database, runner.question)
    await runner.close()
    assert saga.saga_id == SAGA_ID


async def test_one_id_is_one_saga(orders: OrderSaga) -> None:
    runner = orders.runner()
    await orders.begun(runner)
    again = await orders.database.transaction(
        lambda cursor: runner.begin(cursor, "order", NewSaga(SAGA_ID, OWNER))
    )
    assert again is None


async def test_a_failed_transaction_leaves_no_saga(orders: OrderSaga) -> None:
    runner = orders.runner()

    def begin_and_fail(cursor: Cursor) -> None:
        runner.begin(cursor, "order", NewSaga(SAGA_ID, OWNER))
        raise LookupError

    with pytest.raises(LookupError):
        await orders.database.transaction(begin_and_fail)
    assert await runner.find(SAGA_ID) is None


async def test_a_change_may_end_in_another_state(
    orders: OrderSaga,
) -> None:
    runner = orders.runner()
    saga = await orders.begun(runner, impossible=True)
    assert (await runner.drive(saga)).state == "UNDONE"
    assert await orders.effects() == 0


POINTS = [
    f"saga.order.{moment}_{state}"
    for state in ("ASKING", "AGREED")
    for moment in ("before", "after", "moved")
]


@pytest.mark.parametrize("point", POINTS)
async def test_another_process_finishes_the_saga_of_a_dead_one(
    orders: OrderSaga, point: str
) -> None:
    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    dying, living = orders.runner(failpoint=die), orders.runner()
    with pytest.raises(Killed):
        await asyncio.shield(dying.drive(await orders.begun(dying)))
    ended = await orders.until(living, lambda saga: saga.state == "SETTLED")
    assert ended.body["answer"] == len(orders.asked)
    assert await orders.effects() == 1


async def test_a_runner_that_slept_longer_than_its_lease_changes_nothing(orders: OrderSaga) -> None:
    sleeping, living = orders.runner(), orders.runner()
    asleep = await orders.begun(sleeping)
    await orders.until(living, lambda saga: saga.state == "SETTLED")
    woken = await sleeping.drive(asleep)
    assert woken.state == "ASKING", "it was lost to the other"
    assert (await orders.state(living)).state == "SETTLED"
    assert await orders.effects() == 1


async def test_many_that_take_up_the_same_saga_make_its_change_once(orders: OrderSaga) -> None:
    first = orders.runner()
    saga = await orders.begun(first)
    others = [orders.runner() for _ in range(5)]
    await asyncio.gather(*(runner.drive(saga) for runner in (first, *others)))
    assert (await orders.state(first)).state == "SETTLED"
    assert await orders.effects() == 1


async def test_a_failed_step_is_retried_and_its_reason_is_stored(orders: OrderSaga) -> None:
    failures = [Unavailable("away", reason="AWAY"), LookupError("a bug")]

    def fail_at_first() -> None:
        if failures:
            raise failures.pop(0)

    orders.outside = fail_at_first
    runner = orders.runner()
    given_back = await runner.drive(await orders.begun(runner))
    assert given_back.state == "ASKING"
    waiting = await orders.state(runner)
    assert (waiting.attempt_count, waiting.reason, waiting.lease) == (1, "AWAY", "")
    ended = await orders.until(runner, lambda saga: saga.state == "SETTLED")
    assert (ended.attempt_count, ended.reason) == (0, "")


async def test_a_failed_step_whose_lease_was_lost_postpones_nothing_and_says_so(
    orders: OrderSaga,
) -> None:
    def fail() -> None:
        raise Unavailable("away", reason="AWAY")

    orders.outside = fail
    runner = orders.runner()
    saga = await orders.begun(runner)
    await orders.database.autocommit(
        lambda cursor: cursor.execute("UPDATE saga SET lease = 'of another'")
    )
    with capture_logs() as lines:
        await runner.drive(saga)
    assert [(line["event"], line["saga_id"]) for line in lines] == [("lose_saga_lease", SAGA_ID)]
    assert (await orders.state(runner)).attempt_count == 0


async def test_a_saga_that_fails_too_often_is_parked(orders: OrderSaga) -> None:
    def fail() -> None:
        raise Unavailable("away", reason="AWAY")

    orders.outside = fail
    runner = orders.runner()
    await runner.drive(await orders.begun(runner))
    parked = await orders.until(runner, lambda saga: saga.is_parked)
    assert len(orders.asked) == QUICK.max_attempts
    await runner.run_once()
    assert await orders.database.autocommit(rows.list_open) == [parked]
    orders.outside = lambda: None
    assert await orders.database.autocommit(lambda cursor: rows.retry(cursor, SAGA_ID))
    await orders.until(runner, lambda saga: saga.state == "SETTLED")


@pytest.mark.parametrize("error", [DependencyAway("It is away."), TimeoutError()], ids=repr)
async def test_a_dependency_that_is_away_or_silent_parks_no_saga_however_long(
    orders: OrderSaga, error: Exception
) -> None:
    def fail() -> None:
        raise error

    orders.outside = fail
    runner = orders.runner()
    await runner.drive(await orders.begun(runner))
    await orders.until(runner, lambda saga: len(orders.asked) > 2 * QUICK.max_attempts)
    saga = await orders.state(runner)
    assert not saga.is_parked
    assert saga.attempt_count <= QUICK.max_attempts // 2
    orders.outside = lambda: None
    await orders.until(runner, lambda saga: saga.state == "SETTLED")


async def test_a_step_that_does_not_end_in_time_is_tried_again(orders: OrderSaga) -> None:
    async def hang(saga: Saga, deadline: Deadline) -> Move:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    runner = SagaRunner(
        orders.database,
        [Definition("order", "ASKING", {"ASKING": State(hang, {"AGREED"})})],
        limits=SagaLimits(step_seconds=0.05),
    )
    await runner.drive(await orders.begun(runner))
    assert (await orders.state(runner)).reason == "TIMEOUT"


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "free"])
async def test_waking_makes_a_saga_due_as_soon_as_its_lease_is_free(
    orders: OrderSaga, is_held: bool
) -> None:
    runner = orders.runner()
    saga = await orders.begun(runner)

    async def wake() -> bool:
        return await orders.database.autocommit(lambda cursor: bool(rows.wake(cursor, [SAGA_ID])))

    async def give_back() -> None:
        await orders.database.autocommit(
            lambda cursor: rows.postpone(cursor, saga, "LATER", 1, 3600.0)
        )

    if is_held:
        assert await wake()
        await give_back()
    else:
        await give_back()
        assert await wake()
    await orders.until(runner, lambda saga: saga.state == "SETTLED")
    assert not await wake(), "there is nothing left to do"


async def test_a_saga_that_was_woken_is_not_parked_at_that_moment(orders: OrderSaga) -> None:
    runner = orders.runner()
    saga = await orders.begun(runner)

    def wake_and_park(cursor: Cursor) -> Saga | None:
        assert rows.wake(cursor, [SAGA_ID]) == {SAGA_ID}
        return rows.postpone(cursor, saga, "AWAY", QUICK.max_attempts, None)

    released = await orders.database.transaction(wake_and_park)
    assert released is not None
    assert not released.is_parked
    await orders.until(runner, lambda saga: saga.state == "SETTLED")


async def test_waiting_for_an_outside_service_is_no_failure(orders: OrderSaga) -> None:
    def wait() -> None:
        if len(orders.asked) <= 3 * QUICK.max_attempts:
            raise StillWaiting("not yet")

    orders.outside = wait
    runner = orders.runner()
    await runner.drive(await orders.begun(runner))
    ended = await orders.until(runner, lambda saga: saga.state == "SETTLED" or saga.is_parked)
    assert ended.state == "SETTLED"


async def test_only_so_many_are_driven_at_a_time(orders: OrderSaga) -> None:
    runner = SagaRunner(orders.database, [orders.definition], limits=SagaLimits(max_due=0))
    saga = await orders.begun(runner)
    await orders.database.autocommit(lambda cursor: rows.postpone(cursor, saga, "LATER", 1, 0.0))
    await runner.run_once()
    await runner.close()
    assert orders.asked == []


async def test_no_more_sagas_are_leased_than_requested_with_any_query_plan(
    orders: OrderSaga,
) -> None:
    """Also when the planner can only scan the whole table."""

    def lease(cursor: Cursor) -> list[Saga]:
        cursor.execute(
            """
            INSERT INTO saga (saga_id, kind, state, body, due_at)
            SELECT gen_random_uuid(), 'order', 'ASKING', '{}', now() FROM generate_series(1, 20);
            SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
            SET LOCAL enable_hashagg = off; SET LOCAL enable_sort = off;
            SET LOCAL enable_material = off; SET LOCAL enable_indexscan = off;
            SET LOCAL enable_bitmapscan = off
            """
        )
        return turns.lease_due(cursor, ["order"], 5, 10.0, driven={}, max_of_owner=20)

    assert len(await orders.database.transaction(lease)) == 5


async def test_a_saga_whose_row_stays_locked_holds_up_no_other(orders: OrderSaga) -> None:
    runner = orders.runner()
    free_id = SAGA_ID.replace("0f8f", "1f8f")
    locked = await orders.begun(runner, impossible=True)
    free = await orders.database.transaction(
        lambda cursor: runner.begin(cursor, "order", NewSaga(free_id, OWNER, {"impossible": True}))
    )
    assert free is not None

    def lock(cursor: Cursor) -> None:
        cursor.execute("SELECT FROM saga WHERE saga_id = %s FOR UPDATE", (locked.saga_id,))

    async with held(orders.database, lock):
        waiting = runner.drive(locked)
        async with asyncio.timeout(3):
            assert (await runner.drive(free)).state == "UNDONE"
        assert not waiting.done()
    await waiting
    assert (await orders.until(runner, lambda saga: saga.state == "UNDONE")).body["answer"]
