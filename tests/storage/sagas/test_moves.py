"""Moves of sagas: only the holder of a lease makes one, and only one that the definition allows."""

import asyncio
from dataclasses import replace

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.saga import rows, turns
from mesh.saga.definition import (
    NewSaga,
    Saga,
    Transition,
)
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.sagas.order_saga import OWNER, SAGA_ID, SCHEMA, OrderSaga


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("sagas", SCHEMA)


@pytest.fixture
async def orders(schema: Database) -> OrderSaga:
    await empty(schema)
    return OrderSaga(schema)


async def test_only_the_holder_of_the_lease_moves_or_releases_a_saga(orders: OrderSaga) -> None:
    """In the very state that an earlier holder has read."""

    def lease_again(cursor: Cursor) -> tuple[Saga, Saga]:
        new = NewSaga(SAGA_ID, OWNER)
        [earlier] = rows.insert(cursor, "order", "ASKING", [new], 0.0).values()
        [present] = turns.lease_due(cursor, ["order"], 1, 60.0, driven={}, max_of_owner=1)
        return earlier, present

    earlier, present = await orders.database.transaction(lease_again)

    with pytest.raises(rows.LeaseLost):
        await orders.database.transaction(orders.transition(earlier))
    assert await orders.state(orders.runner()) == present
    release = await orders.database.autocommit(
        lambda cursor: rows.postpone(cursor, earlier, "LATER", 1, 0.0)
    )
    assert release is None
    assert await orders.database.transaction(lambda c: rows.hold(c, [earlier])) == {}
    assert (await orders.database.transaction(orders.transition(present))).state == "AGREED"


WRONG_STATES = ["SETTLED", "ASKING", "UNDONE", "NOWHERE"]


@pytest.mark.parametrize("wrong", WRONG_STATES)
async def test_no_saga_moves_to_a_state_that_its_definition_does_not_allow(
    orders: OrderSaga, wrong: str
) -> None:
    saga = await orders.begun(orders.runner())
    with pytest.raises(AssertionError, match=f"ASKING does not lead to {wrong}"):
        await orders.database.transaction(orders.transition(saga, wrong))
    assert await orders.state(orders.runner()) == saga


@pytest.mark.parametrize(
    "lost",
    [
        "lease = 'of the next driver'",
        "state = 'AGREED'",
        "due_at = NULL",
        "due_at = NULL, is_parked = true",
    ],
)
async def test_of_sagas_that_move_together_those_stay_whose_driver_has_lost_them(
    orders: OrderSaga, lost: str
) -> None:
    ids = [SAGA_ID, SAGA_ID.replace("0f8f", "1f8f"), SAGA_ID.replace("0f8f", "2f8f")]

    def lose_one_and_move(cursor: Cursor) -> set[str]:
        new = [NewSaga(saga_id, OWNER) for saga_id in ids]
        sagas = rows.insert(cursor, "order", "ASKING", new, 60.0)
        cursor.execute(f"UPDATE saga SET {lost} WHERE saga_id = %s", (ids[1],))
        transitions = [Transition(each, "AGREED", {"n": 1}) for each in sagas.values()]
        moved = rows.move_all(cursor, orders.definition, transitions)
        assert {(each.state, each.body["n"]) for each in moved.values()} == {("AGREED", 1)}
        return set(moved)

    assert await orders.database.transaction(lose_one_and_move) == {ids[0], ids[2]}


async def test_of_two_moves_of_a_saga_that_share_a_transaction_the_lease_decides(
    orders: OrderSaga,
) -> None:
    runner = orders.runner()
    earlier = await orders.begun(runner)
    present = replace(earlier, lease="of the next driver")

    def lease_again(cursor: Cursor) -> None:
        cursor.execute("UPDATE saga SET lease = %s", (present.lease,))

    await orders.database.autocommit(lease_again)
    ends = await asyncio.gather(runner.drive(present), runner.drive(earlier))
    assert [saga.state for saga in ends] == ["SETTLED", "ASKING"]
