"""Wallets, and the ledger of their changes.

A wallet holds gems or owes gems, never both: its net is the one less the other. A change is added
to the net, so gems that come in pay the debt first. A debt is made only by money that went back
at the payment provider, and by a pull whose debit was lost with its database.
"""

from dataclasses import dataclass
from datetime import datetime

from mesh.errors import FailedPrecondition

MAX_BALANCE_GEMS = 2**53 - 1


WALLET_IN_DEBT = "WALLET_IN_DEBT"


class WalletInDebt(FailedPrecondition):
    """The wallet owes gems; nothing was taken."""

    REASON = WALLET_IN_DEBT

    def __init__(self) -> None:
        super().__init__(
            "Your wallet owes gems: GET /currency shows how many, and GET /ledger what "
            "for. Buy at least as many gems, then try again."
        )


class BalanceLimit(FailedPrecondition):
    REASON = "BALANCE_LIMIT"

    def __init__(self) -> None:
        super().__init__(f"A wallet holds at most {MAX_BALANCE_GEMS} gems; spend some first.")


@dataclass(frozen=True, slots=True)
class Wallet:
    """A player's gems. At least one of the two is 0."""

    balance_gems: int
    debt_gems: int

    @property
    def net_gems(self) -> int:
        """What the ledger adds up to; below 0 for a debt."""
        return self.balance_gems - self.debt_gems


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """Gems gained, or lost when negative, by one operation. `may_owe`: what the wallet does not
    hold becomes its debt."""

    operation_id: str
    user_id: str
    kind: str
    amount_gems: int
    may_owe: bool = False


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A recorded balance change; `number` counts a player's entries from 1."""

    number: int
    operation_id: str
    kind: str
    amount_gems: int
    balance_after_gems: int
    debt_after_gems: int
    created_at: datetime
