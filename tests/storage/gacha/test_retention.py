"""Refused gifts and ended sagas are removed after a time, and nothing else is."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import MAX_HOLDING_COUNT, GiftState, InventoryFull
from gacha_svc.storage import gifts as storage
from gacha_svc.storage import inventories
from gacha_svc.use_cases.gifts import Gifts
from gacha_svc.use_cases.retention import retention_of
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import MIRA, NOOR, OLE, SWORD, GiftService, send
from tests.storage.removals import check_recent_is_kept, functions_with_asserts

REFUSED, ENDED = timedelta(days=30), timedelta(days=90)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gacha_retention", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def service(schema: Database) -> GiftService:
    """Mira owns swords, and Noor can hold no more of them."""
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO item VALUES (1, 'Sword', 'rare', 1)")
    )
    service = GiftService(schema)
    await service.owns(MIRA, SWORD, 9)
    await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    return service


@pytest.fixture
def gifts(service: GiftService) -> Gifts:
    return service.instance()[0]


async def refuse(gifts: Gifts, keys: Collection[str]) -> None:
    for key in keys:
        with pytest.raises(InventoryFull):
            await send(gifts, key=key)


async def pass_days(service: GiftService, days: int) -> None:
    def pass_them(cursor: Cursor) -> None:
        time = timedelta(days=days)
        cursor.execute("UPDATE gift_outcome SET created_at = created_at - %s", (time,))
        cursor.execute("UPDATE saga SET updated_at = updated_at - %s", (time,))

    await as_owner(service.database, pass_them)


async def forget(service: GiftService) -> list[int]:
    """Runs a round, and returns how many gifts, outcomes and sagas are left."""
    retention = retention_of(service.database, refused=REFUSED, ended_sagas=ENDED)
    await retention.run_once()

    def count(cursor: Cursor) -> list[int]:
        cursor.execute(
            "SELECT (SELECT count(*) FROM gift), (SELECT count(*) FROM gift_outcome),"
            " (SELECT count(*) FROM saga)"
        )
        return list(cursor.fetchone() or ())

    return await service.database.autocommit(count)


async def test_a_refused_gift_is_answered_for_its_time_and_then_forgotten(
    service: GiftService, gifts: Gifts
) -> None:
    await refuse(gifts, ["a", "b"])
    await pass_days(service, REFUSED.days - 1)
    await refuse(gifts, ["c"])
    assert await forget(service) == [3, 3, 3]
    await refuse(gifts, ["a"])
    await pass_days(service, 2)
    assert await forget(service) == [1, 1, 1]
    assert await service.held(MIRA) == 9
    await service.database.autocommit(
        lambda cursor: inventories.take(cursor, {(NOOR.user_id, SWORD): 1})
    )
    assert (await send(gifts, key="a")).state is GiftState.DELIVERED
    await refuse(gifts, ["c"])


async def test_a_key_that_was_forgotten_sends_what_it_says_now(
    service: GiftService, gifts: Gifts
) -> None:
    await refuse(gifts, ["a"])
    await pass_days(service, REFUSED.days + 1)
    assert await forget(service) == [0, 0, 0]
    sent = await send(gifts, key="a", to="ole", count=3)
    assert (sent.state, sent.gift.count) == (GiftState.DELIVERED, 3)
    assert [await service.held(player) for player in (MIRA, OLE)] == [6, 3]
    assert await service.held(NOOR) == MAX_HOLDING_COUNT


async def test_of_a_delivered_gift_only_the_saga_is_forgotten(
    service: GiftService, gifts: Gifts
) -> None:
    sent = await send(gifts, to="ole")
    await pass_days(service, ENDED.days - 1)
    assert await forget(service) == [1, 1, 1]
    await pass_days(service, 2)
    assert await forget(service) == [1, 1, 0]
    assert await send(gifts, to="ole") == sent
    assert await service.held(OLE) == 1


async def test_a_gift_under_way_is_never_forgotten(service: GiftService, gifts: Gifts) -> None:
    service.account.strikes = ["request lost"]
    assert (await send(gifts, to="ole", deadline=Deadline.after(0.0))).state is GiftState.PENDING
    await pass_days(service, 5_000)
    assert await forget(service) == [1, 0, 1]
    await service.until_ended()
    assert await service.held(OLE) == 1


async def test_few_rows_go_in_a_transaction_the_oldest_first(
    service: GiftService, gifts: Gifts
) -> None:
    await refuse(gifts, ["a", "b", "c"])
    await pass_days(service, REFUSED.days + 1)
    left = [
        await service.database.autocommit(lambda cursor: storage.forget_refused(cursor, REFUSED, 2))
        for _ in range(3)
    ]
    assert left == [2, 1, 0]


async def test_nothing_of_the_last_day_can_be_removed(schema: Database) -> None:
    assert await check_recent_is_kept(schema) == ["forget_ended_sagas", "forget_refused_gifts"]


async def test_no_function_checks_its_caller_with_an_assert(schema: Database) -> None:
    """Any session can switch them off."""
    assert await schema.autocommit(functions_with_asserts) == []
