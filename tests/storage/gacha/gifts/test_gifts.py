"""Gifts on a real PostgreSQL: delivery, refusals, and their display."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.errors import InsufficientCurrency
from gacha_svc.domain.gifts import (
    MAX_HOLDING_COUNT,
    GiftNotFound,
    GiftRecord,
    GiftState,
    GiftToSelf,
    InventoryFull,
    ItemNotOwned,
    PlayerNotFound,
    TooManyPendingGifts,
    TooManyRefusedGifts,
)
from gacha_svc.rpc.gifts import gift_message
from gacha_svc.use_cases.gifts import Gifts
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.errors import InvalidArgument, MeshError
from mesh.postgres.database import Database
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import (
    FEE_GEMS,
    MAX_PENDING,
    MIRA,
    NOOR,
    OLE,
    REFUSED_AN_HOUR,
    SHIELD,
    SWORD,
    GiftService,
    send,
    soon,
)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def service(schema: Database) -> GiftService:
    """Mira owns three swords and a shield."""
    await empty(schema)
    await schema.autocommit(
        lambda cursor: cursor.execute(
            "INSERT INTO item VALUES (1, 'Sword', 'rare', 1), (2, 'Shield', 'ultra rare', 2)"
        )
    )
    service = GiftService(schema)
    await service.owns(MIRA, SWORD, 3)
    await service.owns(MIRA, SHIELD, 1)
    return service


@pytest.fixture
def gifts(service: GiftService) -> Gifts:
    return service.instance()[0]


async def test_a_gift_moves_the_items_and_takes_the_fee(service: GiftService, gifts: Gifts) -> None:
    sent = await send(gifts, count=2)
    assert (sent.state, sent.reason, sent.gift.fee_gems) == (GiftState.DELIVERED, "", FEE_GEMS)
    assert (sent.gift.sender, sent.gift.receiver, sent.item.name) == (MIRA, NOOR, "Sword")
    assert (await service.held(MIRA), await service.held(NOOR)) == (1, 2)
    assert service.account.kept == {sent.gift.gift_id: FEE_GEMS}


async def test_the_last_of_an_item_may_be_given_and_comes_back(
    service: GiftService, gifts: Gifts
) -> None:
    await send(gifts, SHIELD)
    assert (await service.held(MIRA, SHIELD), await service.held(NOOR, SHIELD)) == (0, 1)
    await gifts.send(NOOR.user_id, SHIELD, "MIRA", 1, "", soon())
    assert (await service.held(MIRA, SHIELD), await service.held(NOOR, SHIELD)) == (1, 0)


async def test_one_key_is_one_gift_however_often_and_at_once(service: GiftService) -> None:
    instances = [service.instance()[0] for _ in range(3)]
    answers = await asyncio.gather(*(send(gifts) for gifts in instances * 3))
    answers.append(await send(instances[0], to="NOOR"))
    assert all(answer == answers[0] for answer in answers)
    assert await service.held(NOOR) == 1
    assert service.account.balances[MIRA.user_id] == 100 - FEE_GEMS


async def test_a_repeat_is_answered_though_its_players_and_items_are_gone(
    service: GiftService, gifts: Gifts
) -> None:
    sent = await send(gifts, SHIELD)
    service.account.players = ()
    assert await send(gifts, SHIELD) == sent


async def test_a_repeat_is_answered_byte_for_byte_though_its_item_was_renamed(
    service: GiftService, gifts: Gifts
) -> None:
    sent = await send(gifts)
    answer = gift_message(sent).SerializeToString()
    await service.database.autocommit(
        lambda cursor: cursor.execute(
            "UPDATE item SET name = 'Blade', rarity = 'super rare' WHERE item_id = %s", (SWORD,)
        )
    )
    assert gift_message(await send(gifts)).SerializeToString() == answer
    assert await gifts.find(MIRA.user_id, sent.gift.gift_id) == sent
    assert await gifts.history(NOOR.user_id, 0, "") == ([sent], "")


@pytest.mark.parametrize(
    "other", [{"item_id": SHIELD}, {"to": "ole"}, {"count": 2}], ids=["item", "player", "count"]
)
async def test_a_key_with_another_gift_is_refused(
    service: GiftService, gifts: Gifts, other: dict[str, object]
) -> None:
    await send(gifts)
    with pytest.raises(IdempotencyKeyReused):
        await send(gifts, **other)  # type: ignore[arg-type]
    assert await service.held(MIRA) == 2


REFUSED: dict[str, tuple[dict[str, object], type[MeshError]]] = {
    "to oneself": ({"to": "mIRA"}, GiftToSelf),
    "to nobody": ({"to": "nobody"}, PlayerNotFound),
    "more than are owned": ({"count": 4}, ItemNotOwned),
    "an item of others": ({"item_id": 77}, ItemNotOwned),
    "none": ({"count": 0}, InvalidArgument),
    "too many": ({"count": 101}, InvalidArgument),
    "no item": ({"item_id": 0}, InvalidArgument),
    "an item beyond all numbers": ({"item_id": 2**31}, InvalidArgument),
    "no name": ({"to": ""}, InvalidArgument),
    "a name with NUL": ({"to": "n\0"}, InvalidArgument),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_gift_that_cannot_be_is_refused_and_may_be_tried_anew(
    service: GiftService, gifts: Gifts, name: str
) -> None:
    changes, error = REFUSED[name]
    with pytest.raises(error):
        await send(gifts, **changes)  # type: ignore[arg-type]
    assert (await service.held(MIRA), service.account.decided) == (3, {})
    assert (await send(gifts)).state is GiftState.DELIVERED


async def test_one_item_is_given_only_once_under_concurrent_requests(service: GiftService) -> None:
    gifts = [service.instance()[0] for _ in range(4)]
    attempts = [
        send(instance, SHIELD, to=to, key=f"{to}-{number}")
        for number, instance in enumerate(gifts)
        for to in ("noor", "ole")
    ]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert [isinstance(answer, ItemNotOwned) for answer in answers].count(True) == 7
    held = [await service.held(player, SHIELD) for player in (MIRA, NOOR, OLE)]
    assert (held[0], sum(held)) == (0, 1)


async def rows(service: GiftService, table: str) -> int:
    def count(cursor: Cursor) -> int:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int((cursor.fetchone() or (0,))[0])

    return await service.database.autocommit(count)


async def test_a_gift_whose_fee_cannot_be_paid_leaves_nothing(
    service: GiftService, gifts: Gifts
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS - 1
    for _ in range(REFUSED_AN_HOUR + 1):
        with pytest.raises(InsufficientCurrency):
            await send(gifts)
    stored = [await rows(service, table) for table in ("gift", "gift_outcome", "saga")]
    assert (stored, service.account.decided) == ([0, 0, 0], {})
    service.account.balances[MIRA.user_id] = FEE_GEMS
    assert (await send(gifts)).state is GiftState.DELIVERED


async def test_a_sender_with_too_many_pending_gifts_waits_and_no_other_sender_does(
    service: GiftService, gifts: Gifts
) -> None:
    await service.owns(MIRA, SWORD, MAX_PENDING + 1)
    held_count = await service.held(MIRA)
    await service.owns(OLE, SWORD, 1)
    service.account.balances[MIRA.user_id] = FEE_GEMS * (MAX_PENDING + 1)
    service.account.strikes = ["request lost"] * MAX_PENDING
    calls = [send(gifts, key=str(n), deadline=Deadline.after(0.4)) for n in range(MAX_PENDING)]
    assert {each.state for each in await asyncio.gather(*calls)} == {GiftState.PENDING}
    with pytest.raises(TooManyPendingGifts):
        await send(gifts, key="another")
    assert await service.held(MIRA) == held_count - MAX_PENDING
    pending = await send(gifts, key="0", deadline=Deadline.after(0.4))
    assert pending.state is GiftState.PENDING, "a repeat is answered"
    assert await gifts.send(OLE.user_id, SWORD, "Mira", 1, "", soon())
    _, runner = service.instance()
    async with asyncio.timeout(5):
        while await service.held(NOOR) < MAX_PENDING:
            await runner.run_once()
            await asyncio.sleep(0.02)
    assert (await send(gifts, key="another")).state is GiftState.DELIVERED


async def test_a_sender_of_many_refused_gifts_waits_and_no_other_sender_does(
    service: GiftService, gifts: Gifts
) -> None:
    await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    await service.owns(OLE, SWORD, 1)
    for number in range(REFUSED_AN_HOUR):
        with pytest.raises(InventoryFull):
            await send(gifts, key=f"refused-{number}")
    with pytest.raises(TooManyRefusedGifts) as refused:
        await send(gifts, to="ole")
    assert 3500 < (refused.value.retry_after_seconds or 0) <= 3600
    assert await rows(service, "gift") == REFUSED_AN_HOUR
    with pytest.raises(InventoryFull):
        await send(gifts, key="refused-0")
    assert await gifts.send(OLE.user_id, SWORD, "Mira", 1, "", soon())
    await as_owner(
        service.database,
        lambda cursor: cursor.execute(
            "UPDATE gift_outcome SET created_at = created_at - interval '1 hour'"
        ),
    )
    assert (await send(gifts, to="ole")).state is GiftState.DELIVERED


async def test_a_gift_is_shown_to_its_players_and_one_under_way_to_its_sender(
    service: GiftService, gifts: Gifts
) -> None:
    service.account.strikes = ["request lost"]
    pending = await send(gifts, deadline=Deadline.after(0.0))
    gift_id = pending.gift.gift_id
    assert await gifts.find(MIRA.user_id, gift_id) == pending
    for other in (NOOR, OLE):
        with pytest.raises(GiftNotFound):
            await gifts.find(other.user_id, gift_id)
    assert await gifts.history(NOOR.user_id, 0, "") == ([], "")
    delivered = await service.until_ended()
    assert await gifts.find(NOOR.user_id, gift_id) == delivered
    assert await gifts.history(NOOR.user_id, 0, "") == ([delivered], "")
    for user_id, asked in ((OLE.user_id, gift_id), (MIRA.user_id, str(uuid4()))):
        with pytest.raises(GiftNotFound):
            await gifts.find(user_id, asked)


async def test_gifts_are_read_page_by_page_newest_first(service: GiftService, gifts: Gifts) -> None:
    await service.owns(NOOR, SHIELD, 5)
    sent = [
        await send(gifts, key="1"),
        await gifts.send(NOOR.user_id, SHIELD, "Mira", 1, "2", soon()),
        await gifts.send(NOOR.user_id, SHIELD, "Ole", 1, "3", soon()),
        await send(gifts, key="4"),
    ]
    seen: list[GiftRecord] = []
    token = ""
    while True:
        page, token = await gifts.history(MIRA.user_id, 2, token)
        seen += page
        if not token:
            break
    assert seen == [sent[3], sent[1], sent[0]]
