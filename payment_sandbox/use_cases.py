"""The provider's operations: it charges once, refunds once, and sends webhooks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from payment_sandbox.domain import (
    AlreadyRefunded,
    Announcement,
    Away,
    Charge,
    ChargeState,
    KeyReused,
    NoSuchCharge,
    NotRefundable,
    Order,
    Refund,
    announcements,
    behaviour_of,
    checked_key,
)
from payment_sandbox.messages import event_json
from payment_sandbox.storage import Book, NewDelivery


@dataclass(frozen=True, slots=True)
class Pace:
    """The delays, in seconds."""

    pending_seconds: float
    """Until a pending charge succeeds; also the delay of shuffled webhooks."""
    slow_seconds: float
    """Until a slow answer is sent."""


class Provider:
    """Charges and refunds over one book."""

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

    async def find(self, key: str) -> Charge:
        """The charge of that key. Raises BadRequest, NoSuchCharge."""
        charge = await self._book.find_charge(checked_key(key))
        if charge is None:
            raise NoSuchCharge
        return charge

    async def refund(self, charge_id: str, key: str, *, webhook_copies: int = 1) -> Charge:
        """Refunds the whole charge. Idempotent by `key`.

        Raises BadRequest, NoSuchCharge, NotRefundable, AlreadyRefunded when it was refunded
        under another key, and KeyReused when the key refunded another charge.
        """
        now = self._clock()
        other = await self._book.find_refunded_with(checked_key(key))
        if other is not None and other.charge_id != charge_id:
            raise KeyReused

        def check(charge: Charge | None) -> None:
            if charge is None:
                raise NoSuchCharge
            if charge.refund is not None:
                if charge.refund.key != key:
                    raise AlreadyRefunded
            elif charge.state(now) is not ChargeState.SUCCEEDED:
                raise NotRefundable(charge.state(now))

        def webhooks(charge: Charge) -> Iterable[NewDelivery]:
            yield from self._deliveries(
                charge, Announcement(ChargeState.REFUNDED, now, webhook_copies)
            )

        refund = Refund(f"re_{self._new_id()}", key, now)
        return await self._book.add_refund(charge_id, refund, check, webhooks)

    async def check(self) -> None:
        """Raises BookUnavailable unless the book can be read and written."""
        await self._book.check()

    async def page(self, after: int, limit: int) -> tuple[list[Charge], bool]:
        """The charges numbered above `after`, and whether there are more."""
        charges = await self._book.list_charges(after, limit + 1)
        return charges[:limit], len(charges) > limit

    def _deliveries(self, charge: Charge, announcement: Announcement) -> Iterable[NewDelivery]:
        """One delivery for each copy. All copies have one event id."""
        body = event_json(f"evt_{self._new_id()}", charge, announcement.state, announcement.due_at)
        for _ in range(announcement.copies):
            yield NewDelivery(body, announcement.due_at)
