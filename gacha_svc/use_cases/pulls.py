"""A player's pulls, inventory and history."""

import asyncio
from collections.abc import Callable
from functools import partial

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.domain.errors import InsufficientCurrency, OddsChanged, WalletInDebt
from gacha_svc.domain.odds.next_pull import next_pull
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pull_counts import check_count, check_pull_limit
from gacha_svc.domain.pulls import (
    BannerPity,
    Debit,
    Draw,
    Holding,
    PulledItem,
    PullRecord,
    pulled,
)
from gacha_svc.storage import pulls as storage
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.contract.idempotency import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    checked_key,
    operation_id,
)
from mesh.contract.pages import checked_page
from mesh.deadlines import Deadline
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound
from mesh.postgres.database import Database, LockTimeout
from mesh.saga.answering import ANSWER_SECONDS
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import DUPLICATE, No
from mesh.txn.sides import OperationPair

PULL = "pull"
CATALOG_ATTEMPTS = 3
"""With a catalog each, while it keeps being changed."""
STORED_PULL_PAUSE_SECONDS = 0.05
INVENTORY_PAGE_SIZE, MAX_INVENTORY_PAGE_SIZE = 100, 500
PULLS_PAGE_SIZE, MAX_PULLS_PAGE_SIZE = 20, 100

_REFUSALS: dict[str, Callable[..., MeshError]] = {
    InsufficientCurrency.REASON: InsufficientCurrency,
    WalletInDebt.REASON: WalletInDebt,
    "USER_NOT_FOUND": partial(NotFound, reason="USER_NOT_FOUND"),
}


class Pulls:
    """Pulls and their items, over the gacha database and the coordinator."""

    def __init__(
        self, database: Database, catalog: CatalogCache, group_commit: GroupCommit
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._group_commit = group_commit

    async def pull(
        self, user_id: str, banner_id: str, count: int, idempotency_key: str, deadline: Deadline
    ) -> tuple[PulledItem, ...]:
        """Charges the player and grants the items: both or neither.

        Idempotent by `idempotency_key`: a pull that was made is answered as at first, whatever
        has changed since. Raises BannerNotFound, CatalogEmpty, InvalidArgument,
        InsufficientCurrency, WalletInDebt, FailedPrecondition, IdempotencyKeyReused. After
        IdempotencyKeyInUse, InDoubt or DeadlineExceeded the outcome is unknown: repeat the key.
        """
        pull_id = operation_id(PULL, user_id, checked_key(idempotency_key))
        catalog = self._catalog.latest
        for _ in range(CATALOG_ATTEMPTS):
            try:
                return await self._pull_by(
                    catalog, pull_id, user_id, banner_id, count, deadline=deadline
                )
            except (NotFound, InvalidArgument, FailedPrecondition, OddsChanged):
                # Another instance may have put another catalog in force, and shown it.
                outdated, catalog = catalog, await self._catalog.in_force()
                if catalog.revision == outdated.revision:
                    raise
        raise OddsChanged

    async def pity(self, user_id: str, banner_id: str) -> list[BannerPity]:
        """The player's pity on that banner, or on every banner, in the catalog's order. Raises
        BannerNotFound and CatalogEmpty."""
        catalog, chosen = await self._catalog.shown(
            lambda catalog: (catalog, catalog.banner(banner_id or catalog.first_banner().id))
        )
        pities = await self._database.autocommit(
            lambda cursor: storage.read_pities(cursor, user_id)
        )

        def on(banner: Banner) -> BannerPity:
            pity = pities.get(banner.kind, Pity())
            return BannerPity(
                banner, catalog.odds_versions[banner.id], pity, next_pull(banner, pity)
            )

        return [on(banner) for banner in ([chosen] if banner_id else catalog.banners)]

    async def inventory(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[Holding], str]:
        """A page of the player's items, and the token of the next page."""
        size, after = checked_page(
            page_size, page_token, default=INVENTORY_PAGE_SIZE, maximum=MAX_INVENTORY_PAGE_SIZE
        )
        holdings = await self._database.autocommit(
            lambda cursor: storage.list_inventory(cursor, user_id, after, size + 1)
        )
        page = holdings[:size]
        return page, str(page[-1].item.id) if len(holdings) > size else ""

    async def history(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[PullRecord], str]:
        """A page of the player's pulls, newest first, and the token of the next page."""
        size, before = checked_page(
            page_size, page_token, default=PULLS_PAGE_SIZE, maximum=MAX_PULLS_PAGE_SIZE
        )
        pulls = await self._database.autocommit(
            lambda cursor: storage.list_pulls(cursor, user_id, before, size + 1)
        )
        page = pulls[:size]
        return page, str(page[-1].number) if len(pulls) > size else ""

    async def _pull_by(
        self,
        catalog: LiveCatalog,
        pull_id: str,
        user_id: str,
        banner_id: str,
        count: int,
        *,
        deadline: Deadline,
    ) -> tuple[PulledItem, ...]:
        """The items of the pull, made at the price and odds of this catalog, or made before."""
        try:
            banner = catalog.banner(banner_id)
            check_count(count, banner)
            if banner.pull_limit:
                await self._check_limit(banner, user_id, count)
        except (NotFound, InvalidArgument, FailedPrecondition):
            made = await self._made_before(pull_id, user_id, deadline)
            if made is None:
                raise
            return _first_answer(made, banner_id, count)
        cost_gems = count * banner.price_gems
        request = Draw(user_id, banner.id, count, cost_gems, catalog.odds_versions[banner.id])
        answer = await self._group_commit.submit(
            OperationPair(pull_id, user_id, first=Debit(user_id, cost_gems), second=request),
            deadline,
        )
        if not isinstance(answer, No):
            items: tuple[PulledItem, ...] = answer.second  # type: ignore[assignment]
            return items
        if answer.reason == DUPLICATE:
            return _first_answer(await self._stored(pull_id, deadline), banner_id, count)
        # The account may have lost the debit of a pull that was made, until it is done again.
        made = await self._find(pull_id)
        if made is None:
            raise _refused(answer)
        return _first_answer(made, banner_id, count)

    async def _check_limit(self, banner: Banner, user_id: str, count: int) -> None:
        """Refuses what the branch is known to refuse, because a refusal there costs the other
        pulls of the batch."""
        draw_count = await self._database.autocommit(
            lambda cursor: storage.count_draws(cursor, user_id, banner.id)
        )
        check_pull_limit(count, banner, draw_count)

    async def _made_before(
        self, pull_id: str, user_id: str, deadline: Deadline
    ) -> PullRecord | None:
        """The pull, if it was made; waits while one of the player's is under way. Raises
        IdempotencyKeyInUse shortly before the deadline."""
        patience = _patience(deadline)
        while True:
            try:
                return await self._database.autocommit(
                    lambda cursor: storage.find_settled_pull(cursor, user_id, pull_id)
                )
            except LockTimeout:
                await _pause(patience)

    async def _stored(self, pull_id: str, deadline: Deadline) -> PullRecord:
        """A pull that was made before.

        Its branch here is committed before the account's. So it is here, even if the account said
        that it was made, unless this database has lost it: then raises IdempotencyKeyInUse shortly
        before the deadline.
        """
        patience = _patience(deadline)
        while True:
            if (found := await self._find(pull_id)) is not None:
                return found
            await _pause(patience)

    async def _find(self, pull_id: str) -> PullRecord | None:
        found = await self._database.autocommit(
            lambda cursor: storage.find_pulls(cursor, [pull_id])
        )
        return found[0] if found else None


def _patience(deadline: Deadline) -> Deadline:
    """The time to wait for a pull that is under way, so that the answer still arrives."""
    return deadline.shortened_to(deadline.remaining_seconds() - ANSWER_SECONDS)


async def _pause(patience: Deadline) -> None:
    """Raises IdempotencyKeyInUse when patience is over."""
    if patience.is_over():
        raise IdempotencyKeyInUse
    await asyncio.sleep(min(STORED_PULL_PAUSE_SECONDS, patience.remaining_seconds()))


def _first_answer(made: PullRecord, banner_id: str, count: int) -> tuple[PulledItem, ...]:
    """Raises IdempotencyKeyReused when the key now asks for another pull."""
    if (made.draw.banner_id, made.draw.count) != (banner_id, count):
        raise IdempotencyKeyReused
    return pulled(made.items)


def _refused(refusal: No) -> MeshError:
    """The error for a participant's NO."""
    if refusal.reason == OddsChanged.REASON:
        return OddsChanged()
    known = _REFUSALS.get(refusal.reason)
    if known is not None:
        return known(refusal.message, metadata=refusal.metadata)
    return FailedPrecondition(
        refusal.message or "The pull was refused; nothing was taken.",
        reason=refusal.reason,
        metadata=refusal.metadata,
    )
