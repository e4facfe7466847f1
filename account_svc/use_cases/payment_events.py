"""Handles webhooks of the payment provider.

An event's content is not trusted. It only makes the saga of its charge due now, or begins one that
follows the charge's refunds and disputes; either fetches the present state from the provider. So an
event may be lost, repeated, late, out of order or about an unknown charge, and no balance depends
on it: without events, purchases are retried later, and reversals are found by the comparison with
the provider. Events that come at the same time wake their sagas in one transaction.
"""

from collections.abc import Sequence

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.payments import PaymentEvent, PaymentProvider
from account_svc.domain.purchases import AT_THE_PROVIDER, purchase_id_of
from account_svc.use_cases.following import begin_following
from mesh.postgres.database import Database
from mesh.postgres.shared_transactions import SharedTransactions
from mesh.saga.rows import wake

log = structlog.get_logger()


class PaymentEvents:
    """Receives the events of one provider, over one database."""

    def __init__(self, database: Database, provider: PaymentProvider) -> None:
        self._database = database
        self._wakes = SharedTransactions(database, _wake)
        self._provider = provider

    async def receive(self, body: bytes, signature: str) -> bool:
        """Makes the saga of the event's charge due, now or when its present runner releases it;
        for an event about a refund or a dispute, begins a saga that follows it.

        Returns whether that made work: False, without any effect, for an unknown, parked or ended
        purchase, for one whose charge is known, and for a repeated event. Idempotent. `body` is
        the exact received body. Raises BadSignature, and InvalidArgument for a malformed body.
        """
        event = self._provider.read_event(body, signature)
        if event is None:
            return False
        purchase_id = purchase_id_of(event.key)
        is_woken = purchase_id is not None and await self._wakes.run(purchase_id)
        is_followed = bool(event.reversed_charge_id) and await self._follow(event)
        log.info(
            "receive_payment_event",
            event_id=event.event_id,
            purchase_id=purchase_id,
            is_woken=is_woken,
            reversed_charge_id=event.reversed_charge_id,
        )
        return is_woken or is_followed

    async def _follow(self, event: PaymentEvent) -> bool:
        """Whether this call has begun a saga."""
        charge_ids = [event.reversed_charge_id]
        return await self._database.transaction(
            lambda cursor: begin_following(cursor, charge_ids, event.event_id) > 0
        )


def _wake(cursor: Cursor, purchase_ids: Sequence[str]) -> Sequence[bool]:
    """Whether each purchase waited for the provider, and is due now."""
    woken = wake(cursor, purchase_ids, AT_THE_PROVIDER)
    return [purchase_id in woken for purchase_id in purchase_ids]
