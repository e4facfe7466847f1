"""The account's part of a pull."""

from dataclasses import dataclass

PULL = "pull"
"""The kind of a debit's ledger entry."""

INSUFFICIENT_CURRENCY = "INSUFFICIENT_CURRENCY"


@dataclass(frozen=True, slots=True)
class Debit:
    """Gems that a player pays."""

    user_id: str
    amount_gems: int
