"""Gems that are bought."""

from dataclasses import dataclass

from mesh.errors import InvalidArgument

MAX_PURCHASE_GEMS = 1_000_000_000
MAX_PAYMENT_METHOD_LENGTH = 64

PURCHASE = "purchase"
"""The kind of its ledger entry."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Gems bought once: `purchase_id` is the id of its ledger entry too."""

    purchase_id: str
    user_id: str
    amount_gems: int
    payment_method: str


def check_purchase(amount_gems: int, payment_method: str) -> None:
    """Raises InvalidArgument naming the field that is wrong."""
    if not 1 <= amount_gems <= MAX_PURCHASE_GEMS:
        raise InvalidArgument.of_field("amount", f"must be 1 to {MAX_PURCHASE_GEMS:,} whole gems")
    if (
        not 1 <= len(payment_method) <= MAX_PAYMENT_METHOD_LENGTH
        or not payment_method.isprintable()
    ):
        raise InvalidArgument.of_field(
            "payment_method",
            f"must be 1 to {MAX_PAYMENT_METHOD_LENGTH} printable characters, such as 'credit_card'",
        )
