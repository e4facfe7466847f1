"""Handles webhooks of the payment provider: each wakes the purchase of its charge.

An event's content is not trusted. It only makes the saga of its charge due now, and the saga
fetches the charge from the provider. So an event may be lost, repeated, late, out of order or
about an unknown charge, and no balance depends on it: without events, the saga retries later.
"""

from uuid import UUID

import structlog

from account_svc.domain.payments import PaymentProvider
from mesh.postgres.database import Database
from mesh.saga.rows import wake

log = structlog.get_logger()


class PaymentEvents:
    """Receives the events of one provider, over one database."""

    def __init__(self, database: Database, provider: PaymentProvider) -> None:
        self._database = database
        self._provider = provider

    async def receive(self, body: bytes, signature: str) -> bool:
        """Makes the saga of the event's charge due, now or when its present runner releases it.

        Returns whether the saga still has work to do: False, without any effect, for an
        unknown, parked or ended one. Idempotent. `body` is the exact received body. Raises
        BadSignature, and InvalidArgument for a malformed body.
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
    """The saga id in a charge's key; None for the key of another user of the same provider."""
    try:
        return str(UUID(key))
    except ValueError:
        return None
