"""The provider's refunds and disputes: each is made once under its key, and sends webhooks."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from payment_sandbox.domain import (
    AlreadyRefunded,
    BadRequest,
    Charge,
    ChargeState,
    KeyReused,
    NoSuchReversal,
    NotRefundable,
    NotReversible,
    check_known,
    checked_key,
)
from payment_sandbox.messages import reversal_event
from payment_sandbox.reversal import NEXT, Reversal, ReversalKind, ReversalStatus
from payment_sandbox.storage.book import Book, NewDelivery, Page

FIRST_STATUSES = {
    ReversalKind.REFUND: (ReversalStatus.SUCCEEDED, ReversalStatus.PENDING),
    ReversalKind.DISPUTE: (ReversalStatus.OPEN,),
}
"""The statuses that a new reversal may have; the first is the usual one."""
PREFIXES = {ReversalKind.REFUND: "re", ReversalKind.DISPUTE: "dp"}


class Reversals:
    """Refunds and disputes over one book."""

    def __init__(
        self, book: Book, *, clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        """`clock` returns Unix seconds; `new_id` returns unique ids."""
        self._book = book
        self._clock = clock
        self._new_id = new_id

    async def make(
        self,
        kind: ReversalKind,
        charge_name: str,
        key: str,
        *,
        amount_minor: int | None = None,
        status: ReversalStatus | None = None,
        webhook_copies: int = 1,
    ) -> Charge:
        """Refunds or disputes a charge, named by its id or key. Returns the charge. Idempotent by
        `key` among the reversals of its kind. By default all that is left is refunded.

        Raises BadRequest, NoSuchCharge, NotRefundable, AlreadyRefunded when nothing is left to
        refund, and KeyReused when the key reversed another charge or another amount.
        """
        checked_key(key)
        if status is not None and status not in FIRST_STATUSES[kind]:
            raise BadRequest(f"status: a new {kind} can be {', '.join(FIRST_STATUSES[kind])}.")
        now = self._clock()

        def reverse(charge: Charge | None, made: Reversal | None) -> Reversal | None:
            known = check_known(charge)
            if made is not None:
                if made.charge_id != known.charge_id or amount_minor not in (
                    None,
                    made.amount_minor,
                ):
                    raise KeyReused
                return None
            amount = _amount(kind, known, amount_minor, now)
            reversal_id = f"{PREFIXES[kind]}_{self._new_id()}"
            first = status or FIRST_STATUSES[kind][0]
            return Reversal(0, reversal_id, kind, key, known.charge_id, amount, first, now)

        def webhooks(charge: Charge) -> Iterable[NewDelivery]:
            new = charge.reversals[-1]
            return self._deliveries("created", charge, new, now, webhook_copies)

        return await self._book.add_reversal(charge_name, kind, key, reverse, webhooks)

    async def move(
        self,
        kind: ReversalKind,
        reversal_id: str,
        status: ReversalStatus,
        *,
        webhook_copies: int = 1,
    ) -> Charge:
        """Sets the status of a reversal and returns its charge. Idempotent. Raises NoSuchReversal,
        and NotReversible when its present status does not lead there."""
        now = self._clock()

        def move(reversal: Reversal | None) -> ReversalStatus | None:
            if reversal is None or reversal.kind is not kind:
                raise NoSuchReversal
            if reversal.status is status:
                return None
            if status not in NEXT[kind][reversal.status]:
                raise NotReversible(f"A {kind} that is {reversal.status} cannot become {status}.")
            return status

        def webhooks(charge: Charge) -> Iterable[NewDelivery]:
            [moved] = (each for each in charge.reversals if each.reversal_id == reversal_id)
            verb = "updated" if kind is ReversalKind.REFUND else "closed"
            return self._deliveries(verb, charge, moved, now, webhook_copies)

        return await self._book.move_reversal(reversal_id, move, webhooks)

    async def page(
        self, kind: ReversalKind, page: Page, charge_id: str | None
    ) -> tuple[list[Reversal], bool]:
        """The reversals of the page, of one charge or of all, and whether there are more."""
        wanted = replace(page, limit=page.limit + 1)
        found = await self._book.list_reversals(kind, wanted, charge_id)
        return found[: page.limit], len(found) > page.limit

    def _deliveries(
        self, verb: str, charge: Charge, reversal: Reversal, now: float, copies: int
    ) -> list[NewDelivery]:
        """One delivery for each copy. All copies have one event id."""
        body = reversal_event(f"evt_{self._new_id()}", verb, charge, reversal, now)
        return [NewDelivery(body, now)] * copies


def _amount(kind: ReversalKind, charge: Charge, wanted_minor: int | None, now: float) -> int:
    """How much to reverse. A dispute does not care what was refunded: the bank decides."""
    state = charge.state(now)
    is_refund = kind is ReversalKind.REFUND
    if is_refund and state is ChargeState.REFUNDED:
        raise AlreadyRefunded
    if state not in (ChargeState.SUCCEEDED, ChargeState.REFUNDED):
        raise NotRefundable(state)
    left_minor = charge.left_minor(*([kind] if is_refund else []))
    amount_minor = left_minor if wanted_minor is None else wanted_minor
    if amount_minor > left_minor:
        raise BadRequest(f"amount_minor: at most {left_minor} can go back.")
    return amount_minor
