"""The provider's charges: it charges once, and sends webhooks. Refunds and disputes are in
`payment_sandbox.reversals`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from payment_sandbox.domain import (
    Announcement,
    Away,
    Charge,
    KeyReused,
    Order,
    announcements,
    behaviour_of,
    check_known,
    checked_key,
)
from payment_sandbox.messages import charge_event
from payment_sandbox.storage.book import Book, NewDelivery, Page


@dataclass(frozen=True, slots=True)
class Pace:
    """The delays, in seconds."""

    pending_seconds: float
    """Until a pending charge succeeds; also the delay of shuffled webhooks."""
    slow_seconds: float
    """Until a slow answer is sent."""


class Provider:
    """Charges over one book."""

    def __init__(
        self,
        book: Book,
        pace: Pace,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """`clock` returns Unix seconds; `new_id` returns unique ids."""
        self._book = book
        self._pace = pace
        self._clock = clock
        self._new_id = new_id

    async def charge(
        self, key: str, order: Order, *, webhook_copies: int = 1
    ) -> tuple[Charge, bool]:
        """Makes the charge of the key. Returns it, and whether it was made now. Idempotent.

        A declined charge is a charge too. Raises BadRequest, UnsupportedMethod, Away; nothing
        was done then. Raises KeyReused when the key has a charge for another order.
        """
        behaviour = behaviour_of(order.payment_method)
        if behaviour.is_away:
            raise Away
        now = self._clock()
        new = Charge(
            number=0,
            charge_id=f"ch_{self._new_id()}",
            key=checked_key(key),
            order=order,
            decline_code=behaviour.decline_code,
            created_at=now,
            settles_at=now + (self._pace.pending_seconds if behaviour.is_pending else 0.0),
        )

        def webhooks(charge: Charge) -> Iterable[NewDelivery]:
            for announcement in announcements(
                charge, late_seconds=self._pace.pending_seconds, copies=webhook_copies
            ):
                yield from self._deliveries(charge, announcement)

        charge, is_new = await self._book.add_charge(new, webhooks)
        if charge.order != order:
            raise KeyReused
        return charge, is_new

    async def find(self, name: str) -> Charge:
        """The charge with that id or key. Raises BadRequest, NoSuchCharge."""
        return check_known(await self._book.find_charge(checked_key(name)))

    async def check(self) -> None:
        """Raises BookUnavailable unless the book can be read and written."""
        await self._book.check()

    async def page(self, page: Page) -> tuple[list[Charge], bool]:
        """The charges of the page, and whether there are more."""
        charges = await self._book.list_charges(replace(page, limit=page.limit + 1))
        return charges[: page.limit], len(charges) > page.limit

    def _deliveries(self, charge: Charge, announcement: Announcement) -> Iterable[NewDelivery]:
        """One delivery for each copy. All copies have one event id."""
        body = charge_event(f"evt_{self._new_id()}", charge, announcement)
        for _ in range(announcement.copies):
            yield NewDelivery(body, announcement.due_at)
