"""What a webhook of the payment provider does: it wakes the purchase that it is about.

An event is never believed. It only makes the saga of its charge due now, which asks the
provider itself. So an event may be lost, repeated, late or out of order, or about nothing
of ours, and no balance depends on it: without any, the saga's own retry asks later.
"""

from uuid import UUID

import structlog

from account_svc.domain.payments import PaymentProvider
from mesh.postgres.database import Database
from mesh.saga.log import wake

log = structlog.get_logger()


class PaymentEvents:
    """Takes the events of one provider, over one database."""

    def __init__(self, database: Database, provider: PaymentProvider) -> None:
        self._database = database
        self._provider = provider

    async def receive(self, body: bytes, signature: str) -> bool:
        """Makes the saga of the event's charge due, now or once whoever holds it gives it
        back; whether there is anything to do for it.

        Idempotent. False, and harmless, for one that is unknown, parked or ended. `body` is
        exactly what arrived. Raises BadSignature, and InvalidArgument for a body that cannot
        be read.
        """
        event = self._provider.read_event(body, signature)
        saga_id = None if event is None else _saga_id_of(event.key)
        if event is None or saga_id is None:
            return False
        is_woken = await self._database.autocommit(lambda cursor: wake(cursor, saga_id))
        log.info(
            "receive_payment_event", event_id=event.event_id, saga_id=saga_id, is_woken=is_woken
        )
        return is_woken


def _saga_id_of(key: str) -> str | None:
    """The saga that a charge's key names; None for one that others made up, who may charge
    through the same provider."""
    try:
        return str(UUID(key))
    except ValueError:
        return None
