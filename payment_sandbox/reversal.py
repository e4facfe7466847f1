"""Money that goes back after a charge: refunds and disputes. Pure.

    refund   pending -> succeeded or failed; succeeded -> failed (the bank sent it back)
    dispute  open -> won or lost; lost -> won (the bank changed its mind)

The caller's key names a reversal among those of its kind permanently.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum


class ReversalKind(StrEnum):
    """Who takes the money back: the merchant, or the customer's bank."""

    REFUND = "refund"
    DISPUTE = "dispute"


class ReversalStatus(StrEnum):
    """The first three are those of refunds, the others those of disputes."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


NEXT: Mapping[ReversalKind, Mapping[ReversalStatus, Set[ReversalStatus]]] = {
    ReversalKind.REFUND: {
        ReversalStatus.PENDING: {ReversalStatus.SUCCEEDED, ReversalStatus.FAILED},
        ReversalStatus.SUCCEEDED: {ReversalStatus.FAILED},
        ReversalStatus.FAILED: set(),
    },
    ReversalKind.DISPUTE: {
        ReversalStatus.OPEN: {ReversalStatus.WON, ReversalStatus.LOST},
        ReversalStatus.LOST: {ReversalStatus.WON},
        ReversalStatus.WON: set(),
    },
}
"""The statuses that may follow each status."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """A refund or dispute of a charge; `number` counts both from 1."""

    number: int
    reversal_id: str
    kind: ReversalKind
    key: str
    charge_id: str
    amount_minor: int
    status: ReversalStatus
    created_at: float

    @property
    def returns_money(self) -> bool:
        """Whether its money is not the merchant's."""
        return self.status not in (ReversalStatus.FAILED, ReversalStatus.WON)
