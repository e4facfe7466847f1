"""Gifts on a real PostgreSQL: whoever dies, and whatever the account service says or fails
to say, an item is in one inventory and a fee is kept for a delivered gift alone."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.errors import InsufficientCurrency
from gacha_svc.domain.gifts import (
    MAX_HOLDING_COUNT,
    FeeRefused,
    Gift,
    GiftNotFound,
    GiftRecord,
    GiftState,
    GiftToSelf,
    InventoryFull,
    ItemNotOwned,
    Player,
    PlayerNotFound,
)
from gacha_svc.storage import gifts as storage
from gacha_svc.use_cases.gift_saga import GiftSaga
from gacha_svc.use_cases.gifts import Gifts
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Unavailable
from mesh.failpoints import Reach, unharmed
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits, SagaRunner
from tests.storage.conftest import empty, migrations_of
from tests.storage.holding import held

SWORD, SHIELD = 1, 2
FEE_GEMS = 20
QUICK = SagaLimits(
    step_seconds=2.0, lease_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.02
)
MIRA, NOOR, OLE = (Player(str(uuid4()), name) for name in ("Mira", "Noor", "Ole"))


class Killed(BaseException):
    """What a process that ends does to its tasks."""


@dataclass
class Account:
    """An account service that keeps what it decided of a fee, and loses messages."""

    balances: dict[str, int]
    kept: dict[str, int] = field(default_factory=dict)
    decided: dict[str, str] = field(default_factory=dict)
    strikes: list[str] = field(default_factory=list)
    """What happens to the next messages: "request lost", "reply lost" or nothing."""

    async def find_players(
        self, username: str, user_id: str, deadline: Deadline
    ) -> tuple[Player | None, Player | None]:
        players = (MIRA, NOOR, OLE)
        named = [each for each in players if each.username.lower() == username.lower()]
        known = [each for each in players if each.user_id == user_id]
        return next(iter(named), None), next(iter(known), None)

    async def charge(self, gift: Gift, deadline: Deadline) -> None:
        await self._deliver(lambda: self._charge(gift))
        if self.decided[gift.gift_id] != "taken":
            raise FeeRefused(self.decided[gift.gift_id])

    async def refund(self, gift: Gift, deadline: Deadline) -> None:
        await self._deliver(lambda: self._refund(gift))

    async def _deliver(self, message: Callable[[], None]) -> None:
        await asyncio.sleep(0)
        strike = self.strikes.pop(0) if self.strikes else ""
        if strike != "request lost":
            message()
        if strike:
            raise Unavailable(strike)

    def _charge(self, gift: Gift) -> None:
        if gift.gift_id in self.decided:
            return
        if self.balances[gift.sender.user_id] < gift.fee_gems:
            self.decided[gift.gift_id] = "INSUFFICIENT_CURRENCY"
            return
        self.decided[gift.gift_id] = "taken"
        self.kept[gift.gift_id] = gift.fee_gems
        self.balances[gift.sender.user_id] -= gift.fee_gems

    def _refund(self, gift: Gift) -> None:
        self.decided.setdefault(gift.gift_id, "GIFT_FEE_REFUNDED")
        self.balances[gift.sender.user_id] += self.kept.pop(gift.gift_id, 0)


class House:
    """One database, one account service, and as many instances as are asked for."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.account = Account({player.user_id: 100 for player in (MIRA, NOOR, OLE)})

    def instance(self, reach: Reach = unharmed) -> tuple[Gifts, SagaRunner]:
        saga = GiftSaga(self.database, self.account)
        runner = SagaRunner(self.database, [saga.definition], limits=QUICK, reach=reach)
        return Gifts(self.database, self.account, runner, fee_gems=FEE_GEMS), runner

    async def owns(self, player: Player, item_id: int, count: int) -> None:
        await self.database.autocommit(
            lambda cursor: storage.put_items(cursor, player.user_id, item_id, count)
        )

    async def held(self, player: Player, item_id: int = SWORD) -> int:
        return await self.database.autocommit(
            lambda cursor: storage.count_held(cursor, player.user_id, item_id)
        )

    async def gift_of(self, player: Player) -> GiftRecord:
        """The newest that the player sent or was given."""
        [newest, *_], _ = await self.instance()[0].history(player.user_id, 0, "")
        return newest

    async def until_ended(self) -> GiftRecord:
        """Drives what is due, as a living instance does, until Mira's gift has ended."""
        _, runner = self.instance()
        async with asyncio.timeout(10):
            while (gift := await self.gift_of(MIRA)).state is GiftState.PENDING:
                await runner.run_once()
                await asyncio.sleep(0.01)
        return gift


@pytest.fixture
def schema(shared_database: Callable[[str, str], Database], repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def house(schema: Database) -> House:
    """Mira owns three swords and a shield."""
    await empty(schema)
    await schema.autocommit(
        lambda cursor: cursor.execute(
            "INSERT INTO item VALUES (1, 'Sword', 'rare', 1), (2, 'Shield', 'ultra rare', 2)"
        )
    )
    house = House(schema)
    await house.owns(MIRA, SWORD, 3)
    await house.owns(MIRA, SHIELD, 1)
    return house


@pytest.fixture
def gifts(house: House) -> Gifts:
    return house.instance()[0]


def soon() -> Deadline:
    return Deadline.after(10)


async def send(
    gifts: Gifts,
    item_id: int = SWORD,
    to: str = "noor",
    count: int = 1,
    key: str = "k",
    deadline: Deadline | None = None,
) -> GiftRecord:
    return await gifts.send(MIRA.user_id, item_id, to, count, key, deadline or soon())


async def test_a_gift_moves_the_items_and_takes_the_fee(house: House, gifts: Gifts) -> None:
    sent = await send(gifts, count=2)
    assert (sent.state, sent.reason, sent.gift.fee_gems) == (GiftState.DELIVERED, "", FEE_GEMS)
    assert (sent.gift.sender, sent.gift.receiver, sent.item.name) == (MIRA, NOOR, "Sword")
    assert (await house.held(MIRA), await house.held(NOOR)) == (1, 2)
    assert house.account.kept == {sent.gift.gift_id: FEE_GEMS}


async def test_the_last_of_an_item_may_be_given_and_comes_back(house: House, gifts: Gifts) -> None:
    await send(gifts, SHIELD)
    assert (await house.held(MIRA, SHIELD), await house.held(NOOR, SHIELD)) == (0, 1)
    await gifts.send(NOOR.user_id, SHIELD, "MIRA", 1, "", soon())
    assert (await house.held(MIRA, SHIELD), await house.held(NOOR, SHIELD)) == (1, 0)


async def test_one_key_is_one_gift_however_often_and_at_once(house: House) -> None:
    instances = [house.instance()[0] for _ in range(3)]
    answers = await asyncio.gather(*(send(gifts) for gifts in instances * 3))
    answers.append(await send(instances[0], to="NOOR"))
    assert all(answer == answers[0] for answer in answers)
    assert await house.held(NOOR) == 1
    assert house.account.balances[MIRA.user_id] == 100 - FEE_GEMS


@pytest.mark.parametrize(
    "other", [{"item_id": SHIELD}, {"to": "ole"}, {"count": 2}], ids=["item", "player", "count"]
)
async def test_a_key_with_another_gift_is_refused(
    house: House, gifts: Gifts, other: dict[str, object]
) -> None:
    await send(gifts)
    with pytest.raises(IdempotencyKeyReused):
        await send(gifts, **other)  # type: ignore[arg-type]
    assert await house.held(MIRA) == 2


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
    house: House, gifts: Gifts, name: str
) -> None:
    changes, error = REFUSED[name]
    with pytest.raises(error):
        await send(gifts, **changes)  # type: ignore[arg-type]
    assert (await house.held(MIRA), house.account.decided) == (3, {})
    assert (await send(gifts)).state is GiftState.DELIVERED


async def test_one_item_is_given_once_whoever_asks_for_it(house: House) -> None:
    gifts = [house.instance()[0] for _ in range(4)]
    attempts = [
        send(instance, SHIELD, to=to, key=f"{to}-{number}")
        for number, instance in enumerate(gifts)
        for to in ("noor", "ole")
    ]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert [isinstance(answer, ItemNotOwned) for answer in answers].count(True) == 7
    held = [await house.held(player, SHIELD) for player in (MIRA, NOOR, OLE)]
    assert (held[0], sum(held)) == (0, 1)


async def test_without_the_fee_the_items_come_back_and_the_key_may_be_tried_anew(
    house: House, gifts: Gifts
) -> None:
    house.account.balances[MIRA.user_id] = FEE_GEMS - 1
    with pytest.raises(InsufficientCurrency):
        await send(gifts)
    returned = await house.gift_of(MIRA)
    assert (returned.state, returned.reason) == (GiftState.RETURNED, "INSUFFICIENT_CURRENCY")
    assert await house.held(MIRA) == 3
    house.account.balances[MIRA.user_id] = FEE_GEMS
    sent = await send(gifts)
    assert sent.gift.gift_id != returned.gift.gift_id
    assert (await house.held(MIRA), await house.held(NOOR)) == (2, 1)
    assert await send(gifts) == sent


async def test_what_cannot_be_delivered_is_returned_with_its_fee(
    house: House, gifts: Gifts
) -> None:
    await house.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    with pytest.raises(InventoryFull):
        await send(gifts)
    assert (await house.held(MIRA), await house.held(NOOR)) == (3, MAX_HOLDING_COUNT)
    assert (house.account.kept, house.account.balances[MIRA.user_id]) == ({}, 100)
    assert (await house.gift_of(MIRA)).reason == "INVENTORY_FULL"


LOST = ["request lost", "reply lost"]


@pytest.mark.parametrize("strike", LOST)
@pytest.mark.parametrize("is_full", [False, True], ids=["delivered", "returned"])
async def test_a_lost_message_is_sent_again_and_takes_effect_once(
    house: House, gifts: Gifts, strike: str, is_full: bool
) -> None:
    house.account.strikes = [strike, strike, "", strike] if is_full else [strike, strike]
    if is_full:
        await house.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    pending = await send(gifts, deadline=Deadline.after(0.31))
    assert pending.state is GiftState.PENDING
    assert await house.held(MIRA) == 2
    ended = await house.until_ended()
    assert ended.state is (GiftState.RETURNED if is_full else GiftState.DELIVERED)
    assert await house.held(MIRA) == (3 if is_full else 2)
    assert house.account.kept == ({} if is_full else {ended.gift.gift_id: FEE_GEMS})
    assert house.account.strikes == []


POINTS = [
    f"saga.gift.{moment}_{state}"
    for state in ("RESERVED", "CHARGED", "REFUNDING")
    for moment in ("before", "after", "moved")
]
ENDS = {
    "delivered": (GiftState.DELIVERED, 1),
    "without the fee": (GiftState.RETURNED, 0),
    "inventory full": (GiftState.RETURNED, MAX_HOLDING_COUNT),
}
PASSED = {
    "delivered": POINTS[:6],
    "without the fee": POINTS[:3],
    "inventory full": POINTS,
}


@pytest.mark.parametrize(
    ("end", "point"), [(end, point) for end, points in PASSED.items() for point in points]
)
async def test_another_instance_finishes_what_one_that_died_began(
    house: House, end: str, point: str
) -> None:
    if end == "without the fee":
        house.account.balances[MIRA.user_id] = 0
    if end == "inventory full":
        await house.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    gems_before = sum(house.account.balances.values())
    deaths: list[str] = []

    def die(reached: str) -> None:
        if reached == point:
            deaths.append(reached)
            raise Killed

    dying, _ = house.instance(reach=die)
    with suppress(Killed, MeshError):
        await send(dying, deadline=Deadline.after(0.4))
    assert deaths == [point]
    ended = await house.until_ended()
    state, received = ENDS[end]
    assert ended.state is state
    assert await house.held(NOOR) == received
    is_delivered = state is GiftState.DELIVERED
    assert await house.held(MIRA) == (2 if is_delivered else 3)
    assert house.account.kept == ({ended.gift.gift_id: FEE_GEMS} if is_delivered else {})
    gems_after = sum(house.account.balances.values()) + sum(house.account.kept.values())
    assert gems_after == gems_before


async def test_instances_that_race_for_a_gift_move_it_once(house: House) -> None:
    house.account.strikes = ["reply lost"]
    gifts, _ = house.instance()
    await send(gifts, deadline=Deadline.after(0.0))
    runners = [house.instance()[1] for _ in range(6)]
    async with asyncio.timeout(10):
        while (await house.gift_of(MIRA)).state is GiftState.PENDING:
            await asyncio.gather(*(runner.run_once() for runner in runners))
            await asyncio.sleep(0)
    assert (await house.held(MIRA), await house.held(NOOR)) == (2, 1)
    assert sum(house.account.kept.values()) == FEE_GEMS


async def test_a_pull_that_is_being_committed_is_waited_for_and_not_for_ever(
    house: House, gifts: Gifts
) -> None:
    def pull(cursor: Cursor) -> None:
        storage.put_items(cursor, MIRA.user_id, SWORD, 1)

    async with held(house.database, pull):
        with pytest.raises(DeadlineExceeded):
            await send(gifts, deadline=Deadline.after(0.1))
        sending = asyncio.create_task(send(gifts))
    assert (await sending).state is GiftState.DELIVERED
    assert (await house.held(MIRA), await house.held(NOOR)) == (3, 1)


async def test_a_receiver_whose_inventory_is_held_gets_the_gift_later(
    house: House, gifts: Gifts
) -> None:
    await house.owns(NOOR, SWORD, 1)

    def pull(cursor: Cursor) -> None:
        storage.put_items(cursor, NOOR.user_id, SWORD, 1)

    async with held(house.database, pull):
        pending = await send(gifts, deadline=Deadline.after(0.8))
        assert pending.state is GiftState.PENDING
    assert (await house.until_ended()).state is GiftState.DELIVERED
    assert await house.held(NOOR) == 3


async def test_a_gift_is_shown_to_its_players_and_one_under_way_to_its_sender(
    house: House, gifts: Gifts
) -> None:
    house.account.strikes = ["request lost"]
    pending = await send(gifts, deadline=Deadline.after(0.0))
    gift_id = pending.gift.gift_id
    assert await gifts.find(MIRA.user_id, gift_id) == pending
    for other in (NOOR, OLE):
        with pytest.raises(GiftNotFound):
            await gifts.find(other.user_id, gift_id)
    assert await gifts.history(NOOR.user_id, 0, "") == ([], "")
    delivered = await house.until_ended()
    assert await gifts.find(NOOR.user_id, gift_id) == delivered
    assert await gifts.history(NOOR.user_id, 0, "") == ([delivered], "")
    for user_id, asked in ((OLE.user_id, gift_id), (MIRA.user_id, str(uuid4()))):
        with pytest.raises(GiftNotFound):
            await gifts.find(user_id, asked)


async def test_gifts_are_read_page_by_page_newest_first(house: House, gifts: Gifts) -> None:
    await house.owns(NOOR, SHIELD, 5)
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
