"""Money that goes back at the payment provider after a charge: refunds and disputes. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class ReversalKind(StrEnum):
    """The provider's object that returns the money. Its value is also the kind of the ledger
    entry that takes the gems back."""

    REFUND = "refund"
    DISPUTE = "dispute"

    @property
    def undone_kind(self) -> str:
        """The kind of the ledger entry that returns the gems."""
        return {ReversalKind.REFUND: "refund_failed", ReversalKind.DISPUTE: "dispute_won"}[self]


class ReversalState(StrEnum):
    """How far a reversal is. It only moves on in this order, and may leave states out."""

    PENDING = "pending"
    """The money is on its way back, or held by the bank: it may still return to us."""
    SETTLED = "settled"
    """The refund succeeded, or the dispute was lost."""
    UNDONE = "undone"
    """The refund failed, or the dispute was won: the money is ours again."""

    def is_before(self, other: "ReversalState") -> bool:
        """Whether a reversal in this state may move on to the other one."""
        order = list(ReversalState)
        return order.index(self) < order.index(other)


@dataclass(frozen=True, slots=True)
class Reversal:
    """A refund or dispute as its provider reports it. `charge_id` is the provider's;
    `amount_minor` is in the smallest unit of the charge's currency."""

    kind: ReversalKind
    reversal_id: str
    charge_id: str
    amount_minor: int
    state: ReversalState


@dataclass(frozen=True, slots=True)
class ReversedCharge:
    """All refunds and disputes of a charge. `key` is the key that the charge was made by; it is
    empty for a charge of another user of the same provider."""

    key: str
    reversals: tuple[Reversal, ...]

    @property
    def may_fail_to_refund(self) -> bool:
        """Whether the money of a refund may still come back to us."""
        return any(each.state is ReversalState.PENDING for each in self._refunds())

    def failed_to_refund(self, price_minor: int) -> bool:
        """Whether a refund has failed, and the others do not give back the whole price."""
        given_back_minor = sum(
            each.amount_minor for each in self._refunds() if each.state is not ReversalState.UNDONE
        )
        has_failed = any(each.state is ReversalState.UNDONE for each in self._refunds())
        return has_failed and given_back_minor < price_minor

    def _refunds(self) -> list[Reversal]:
        return [each for each in self.reversals if each.kind is ReversalKind.REFUND]
