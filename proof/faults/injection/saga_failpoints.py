"""The failpoints of the sagas, by state; see `mesh.saga.runner`."""

from collections.abc import Iterator, Mapping

from account_svc.domain.purchases import PURCHASE, PurchaseSagaState
from gacha_svc.domain.gifts import GIFT, GiftSagaState


def _of_state(kind: str, state: str) -> Iterator[str]:
    for when in ("before", "after", "moved"):
        yield f"saga.{kind}.{when}_{state}"


OF_GIFTS = tuple(_of_state(GIFT, GiftSagaState.RESERVED))
OF_PURCHASES = (
    *_of_state(PURCHASE, PurchaseSagaState.CHARGING),
    *_of_state(PURCHASE, PurchaseSagaState.PAID),
)
NOT_REACHABLE: Mapping[str, str] = {
    f"saga.{GIFT}.*_{GiftSagaState.REFUNDING}": "an inventory would have to be full: "
    "2^53 - 1 of one item; see tests/storage/gacha/gifts/test_gift_recovery.py",
    f"saga.{PURCHASE}.*_{PurchaseSagaState.REFUNDING}": "a wallet would have to fill up between "
    "the charge and the credit; see tests/storage/account/test_purchase_recovery.py",
}
"""The points that no run reaches, with the reason, and the test that reaches them."""
