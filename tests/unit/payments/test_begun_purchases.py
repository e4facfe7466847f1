"""What is kept of a purchase that this process has begun."""

from datetime import UTC, datetime

from account_svc.domain.purchases import Purchase, PurchaseRecord, PurchaseState
from account_svc.use_cases.purchasing.reads import BegunPurchases
from mesh.postgres.database import Database

PURCHASE = Purchase("id", "intent", "mira", 5, 99, "USD", "credit_card", "sandbox")


async def test_a_kept_purchase_is_not_read_and_its_age_grows() -> None:
    now = [1000.0]
    begun = BegunPurchases(Database("postgresql://nowhere"), clock=lambda: now[0])
    begun.keep(
        PurchaseRecord(
            1, PURCHASE, PurchaseState.PENDING, "", None, 3.0, datetime.now(tz=UTC), None
        )
    )
    now[0] += 60
    assert await begun.of("id") == PURCHASE
    assert await begun.age_seconds("id") == 63.0
