"""The account's part of a pull."""

from dataclasses import dataclass

from mesh.txn.model import No

PULL = "pull"
"""The kind of a debit's ledger entry."""
OWED_PULL = "owed_pull"
"""The kind of a debit that was lost after its pull was decided, and made again."""

INSUFFICIENT_CURRENCY = "INSUFFICIENT_CURRENCY"


@dataclass(frozen=True, slots=True)
class Debit:
    """Gems that a player pays."""

    user_id: str
    amount_gems: int


def insufficient(price_gems: int, balance_gems: int) -> No:
    """The vote for a player who cannot pay. The message is promised to clients as it is; the
    metadata tells price and balance."""
    return No(
        INSUFFICIENT_CURRENCY,
        "Insufficient currency",
        {"price_gems": str(price_gems), "balance_gems": str(balance_gems)},
    )
