"""Owners take turns: the rows that are leased next."""

from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.saga import rows, turns
from mesh.saga.definition import NewSaga
from tests.storage.conftest import MakeDatabase, empty


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("turns", rows.SCHEMA + turns.SCHEMA)


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    return schema


async def has_due(database: Database, owner: str, count: int, age_seconds: int = 0) -> None:
    """Adds sagas that have been due for that long."""

    def insert(cursor: Cursor) -> None:
        new = [NewSaga(str(uuid4()), owner) for _ in range(count)]
        rows.insert(cursor, "order", "ASKING", new, None)
        cursor.execute(
            "UPDATE saga SET due_at = now() - make_interval(secs => %s) WHERE owner = %s",
            (age_seconds, owner),
        )

    await database.transaction(insert)


async def leased(
    database: Database,
    limit: int,
    driven: dict[str, int] | None = None,
    max_of_owner: int = 100,
    kinds: tuple[str, ...] = ("order",),
) -> str:
    """The owners of the sagas that are leased, in alphabetical order."""
    sagas = await database.transaction(
        lambda cursor: turns.lease_due(
            cursor, kinds, limit, 60.0, driven=driven or {}, max_of_owner=max_of_owner
        )
    )
    assert len({saga.lease for saga in sagas}) <= 1
    return "".join(sorted(saga.owner for saga in sagas))


async def test_the_first_saga_of_each_owner_comes_before_the_second_of_any(
    database: Database,
) -> None:
    await has_due(database, "a", 40, age_seconds=90)
    await has_due(database, "b", 2, age_seconds=1)
    await has_due(database, "c", 1)
    assert await leased(database, 3) == "abc"
    assert await leased(database, 3) == "aab"
    assert await leased(database, 100) == "a" * 37
    assert await leased(database, 100) == ""


@pytest.mark.parametrize(
    ("driven", "expected"),
    [({}, "aaab"), ({"a": 1}, "aab"), ({"a": 2, "b": 9}, "a"), ({"a": 3}, "b"), ({"c": 3}, "aaab")],
)
async def test_an_owner_has_a_bound_that_counts_what_is_driven_already(
    database: Database, driven: dict[str, int], expected: str
) -> None:
    await has_due(database, "a", 9, age_seconds=90)
    await has_due(database, "b", 1)
    assert await leased(database, 100, driven, max_of_owner=3) == expected


async def test_what_is_driven_already_counts_for_the_order_of_turns(database: Database) -> None:
    await has_due(database, "a", 9, age_seconds=90)
    await has_due(database, "b", 2)
    assert await leased(database, 2, {"a": 2}) == "bb"


async def test_sagas_of_other_kinds_or_that_are_not_due_are_left(database: Database) -> None:
    await has_due(database, "a", 1, age_seconds=-60)
    await has_due(database, "b", 1)
    assert await leased(database, 10, kinds=("gift",)) == ""
    assert await leased(database, 10) == "b"


async def test_sagas_under_way_are_counted_until_they_end_or_are_parked(database: Database) -> None:
    await has_due(database, "a", 3, age_seconds=-60)
    await has_due(database, "b", 1)

    def count(cursor: Cursor) -> dict[str, int]:
        return dict(turns.count_under_way(cursor, "order", ["a", "b", "c"]))

    assert await database.transaction(count) == {"a": 3, "b": 1}

    def end_one_and_park_one(cursor: Cursor) -> None:
        driven = turns.lease_due(cursor, ["order"], 1, 60.0, driven={}, max_of_owner=1)
        cursor.execute("UPDATE saga SET due_at = NULL WHERE saga_id = %s", (driven[0].saga_id,))
        cursor.execute(
            "UPDATE saga SET is_parked = true, due_at = NULL WHERE saga_id ="
            " (SELECT saga_id FROM saga WHERE owner = 'a' LIMIT 1)"
        )

    await database.transaction(end_one_and_park_one)
    assert await database.transaction(count) == {"a": 2}
