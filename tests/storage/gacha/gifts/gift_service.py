"""Instances of the gift saga over one database, with an account service that the test controls."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from gacha_svc.domain.gifts import (
    FeeRefused,
    Gift,
    GiftRecord,
    GiftState,
    Parties,
    Player,
)
from gacha_svc.storage import inventories
from gacha_svc.use_cases.gift_begins import GiftBegins
from gacha_svc.use_cases.gift_reads import gift_facts
from gacha_svc.use_cases.gift_saga import GiftSaga
from gacha_svc.use_cases.gifts import Gifts
from mesh.deadlines import Deadline
from mesh.errors import Unavailable
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits, SagaRunner

SWORD, SHIELD = 1, 2


FEE_GEMS, REFUSED_AN_HOUR, MAX_PENDING = 20, 3, 4


QUICK = SagaLimits(
    step_seconds=2.0, lease_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.02
)


MIRA, NOOR, OLE = (Player(str(uuid4()), name) for name in ("Mira", "Noor", "Ole"))


@dataclass
class Account:
    """An account service that stores its decision on each fee, and loses messages."""

    balances: dict[str, int]
    kept: dict[str, int] = field(default_factory=dict)
    decided: dict[str, str] = field(default_factory=dict)
    strikes: list[str] = field(default_factory=list)
    """What happens to the next messages: "request lost", "reply lost" or nothing."""
    players: tuple[Player, ...] = (MIRA, NOOR, OLE)
    spends_meanwhile: bool = False
    """Whether what a sender lacks is spent only after it was looked for."""

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        named = [each for each in self.players if each.username.lower() == to.lower()]
        known = [each for each in self.players if each.user_id == sender_id]
        is_poor = self.balances[sender_id] < fee_gems
        return Parties(
            next(iter(known), None),
            next(iter(named), None),
            "INSUFFICIENT_CURRENCY" if is_poor and not self.spends_meanwhile else "",
        )

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


class GiftService:
    """One database, one account service, and any number of instances."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.account = Account({player.user_id: 100 for player in (MIRA, NOOR, OLE)})

    def instance(
        self, failpoint: Failpoint = no_failpoint, database: Database | None = None
    ) -> tuple[Gifts, SagaRunner]:
        """`database` serves the requests, if that is another one than the sagas'."""
        facts = gift_facts(self.database)
        saga = GiftSaga(self.database, self.account, facts)
        runner = SagaRunner(self.database, [saga.definition], limits=QUICK, failpoint=failpoint)
        begins = GiftBegins(
            database or self.database,
            runner,
            facts,
            refused_an_hour=REFUSED_AN_HOUR,
            max_pending=MAX_PENDING,
        )
        gifts = Gifts(database or self.database, self.account, begins, fee_gems=FEE_GEMS)
        return gifts, runner

    async def owns(self, player: Player, item_id: int, count: int) -> None:
        await self.database.autocommit(
            lambda cursor: inventories.put(cursor, player.user_id, item_id, count)
        )

    async def held(self, player: Player, item_id: int = SWORD) -> int:
        return await self.database.autocommit(
            lambda cursor: inventories.count_held(cursor, player.user_id, item_id)
        )

    async def gift_of(self, player: Player) -> GiftRecord:
        """The newest gift that the player sent or received."""
        [newest, *_], _ = await self.instance()[0].history(player.user_id, 0, "")
        return newest

    async def until_ended(self) -> GiftRecord:
        """Runs due sagas, like a running instance, until Mira's gift has ended."""
        _, runner = self.instance()
        async with asyncio.timeout(10):
            while (gift := await self.gift_of(MIRA)).state is GiftState.PENDING:
                await runner.run_once()
                await asyncio.sleep(0.01)
        return gift


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
