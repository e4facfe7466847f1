"""Wallets, and the ledger of their changes."""

from dataclasses import dataclass
from datetime import datetime

from mesh.errors import FailedPrecondition

MAX_BALANCE_GEMS = 2**53 - 1


class BalanceLimit(FailedPrecondition):
    REASON = "BALANCE_LIMIT"

    def __init__(self) -> None:
        super().__init__(f"A wallet holds at most {MAX_BALANCE_GEMS} gems; spend some first.")


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """Gems gained, or lost when negative, by one operation."""

    operation_id: str
    user_id: str
    kind: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A recorded balance change; `number` counts a player's entries from 1."""

    number: int
    operation_id: str
    kind: str
    amount_gems: int
    balance_after_gems: int
    created_at: datetime
