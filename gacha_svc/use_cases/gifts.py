"""Sends gifts, and reports their outcomes."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from gacha_svc.domain.errors import InsufficientCurrency, WalletInDebt
from gacha_svc.domain.gifts import (
    GIFT,
    FeeRefused,
    Gift,
    GiftNotFound,
    GiftRecord,
    GiftSagaState,
    GiftState,
    GiftToSelf,
    InventoryFull,
    Player,
    PlayerNotFound,
    Players,
    check_gift,
)
from gacha_svc.storage import gifts as storage
from gacha_svc.use_cases.gift_begins import GiftBegins
from gacha_svc.use_cases.gift_reads import gift_reads, gift_reads_by_intent
from mesh.contract.field_checks import check_each
from mesh.contract.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.contract.pages import checked_page
from mesh.deadlines import Deadline
from mesh.errors import MeshError, NotFound
from mesh.postgres.database import Database
from mesh.saga.answering import driven_to, record_in_time
from mesh.saga.begun import Begun

GIFTS_PAGE_SIZE, MAX_GIFTS_PAGE_SIZE = 20, 100


class Gifts:
    """Gifts over the gacha database, the account service and the sagas."""

    def __init__(
        self,
        database: Database,
        players: Players,
        begins: GiftBegins,
        *,
        fee_gems: int,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        """`fee_gems` is the sender's fee for new gifts."""
        self._database = database
        self._gifts = gift_reads(database)
        self._by_intent = gift_reads_by_intent(database)
        self._players = players
        self._begins = begins
        self._fee_gems = fee_gems
        self._new_id = new_id

    async def send(
        self,
        user_id: str,
        item_id: int,
        to: str,
        count: int,
        idempotency_key: str,
        deadline: Deadline,
    ) -> GiftRecord:
        """Moves the items to the player named `to`, for a fee.

        Idempotent by `idempotency_key`. Returns a pending gift if it has not ended shortly
        before the deadline; its saga continues in the background. A gift that ended is answered
        as it ended, also if it was returned: a new attempt needs a new key, and no player or
        inventory is looked at for a stored gift. What is known to be refused is not stored, and
        its key may be tried again. Raises InvalidArgument, IdempotencyKeyReused, PlayerNotFound,
        GiftToSelf, ItemNotOwned, InsufficientCurrency, InventoryFull, TooManyRefusedGifts,
        TooManyPendingGifts; nothing has changed then. After any other MeshError the outcome is
        unknown: repeat the key.
        """
        _, key = check_each(
            lambda: check_gift(item_id, to, count), lambda: checked_key(idempotency_key)
        )
        intent_id = operation_id(GIFT, user_id, key)
        stored = await self._by_intent.get(intent_id)
        if stored is not None:
            begun = Begun(stored)
        else:
            begun = await self._begin(intent_id, user_id, item_id, to, count, deadline)
        if not begun.record.gift.matches(to, item_id, count):
            raise IdempotencyKeyReused
        ended = await self._end(begun, deadline)
        if ended.state is GiftState.RETURNED:
            raise _refused(ended.reason, ended.gift.fee_gems)
        return ended

    async def find(self, user_id: str, gift_id: str) -> GiftRecord:
        """A gift that the player sent or received. Raises GiftNotFound."""
        record = await self._gifts.get(gift_id)
        if record is None or not record.is_shown_to(user_id):
            raise GiftNotFound
        return record

    async def history(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[GiftRecord], str]:
        """A page of the player's gifts, newest first, and the token of the next page."""
        size, before = checked_page(
            page_size, page_token, default=GIFTS_PAGE_SIZE, maximum=MAX_GIFTS_PAGE_SIZE
        )
        gifts = await self._database.autocommit(
            lambda cursor: storage.list_gifts(cursor, user_id, before, size + 1)
        )
        page = gifts[:size]
        return page, str(page[-1].number) if len(gifts) > size else ""

    async def _begin(
        self, intent_id: str, user_id: str, item_id: int, to: str, count: int, deadline: Deadline
    ) -> Begun[GiftRecord]:
        """The gift of that intent, and its saga if this call started it."""
        try:
            sender, receiver = await self._both_players(user_id, to, deadline)
        except MeshError:
            # A concurrent call with this key may have begun the gift meanwhile. Then its fee may be
            # what the sender lacks now.
            stored = await self._by_intent.get(intent_id)
            if stored is None:
                raise
            return Begun(stored)
        gift = Gift(self._new_id(), intent_id, sender, receiver, item_id, count, self._fee_gems)
        return await self._begins.begin(gift, deadline)

    async def _both_players(
        self, user_id: str, to: str, deadline: Deadline
    ) -> tuple[Player, Player]:
        """Raises what would refuse the gift for sure."""
        found = await self._players.find_players(to, user_id, self._fee_gems, deadline)
        sender, receiver = found.sender, found.receiver
        if sender is None:
            raise NotFound(
                "The player of this token does not exist; register again.",
                reason="USER_NOT_FOUND",
            )
        if receiver is None:
            raise PlayerNotFound
        if receiver == sender:
            raise GiftToSelf
        if found.fee_refusal:
            raise _refused(found.fee_refusal, self._fee_gems, found.sender_balance_gems)
        return sender, receiver

    async def _end(self, begun: Begun[GiftRecord], deadline: Deadline) -> GiftRecord:
        """The gift once it has ended, or its state shortly before the deadline."""

        async def find() -> GiftRecord:
            if driven_to(begun.driving, GiftSagaState.DELIVERED):
                return replace(begun.record, state=GiftState.DELIVERED)
            stands = await self._gifts.get(begun.record.gift.gift_id)
            assert stands is not None, "no gift is removed on the day when it ends"
            return stands

        return await record_in_time(
            find,
            lambda record: record.state is GiftState.PENDING,
            begun.driving,
            deadline,
        )


def _refused(reason: str, fee_gems: int, balance_gems: int | None = None) -> MeshError:
    """The sender's error for a gift that was or would be returned. Give the balance only for a gift
    that was not begun: a gift that was returned has the same error at each repeat."""
    match reason:
        case InsufficientCurrency.REASON:
            metadata = {"price_gems": str(fee_gems)}
            if balance_gems is not None:
                metadata["balance_gems"] = str(balance_gems)
            return InsufficientCurrency(metadata=metadata)
        case WalletInDebt.REASON:
            return WalletInDebt()
        case InventoryFull.REASON:
            return InventoryFull()
        case _:
            return FeeRefused(reason)
