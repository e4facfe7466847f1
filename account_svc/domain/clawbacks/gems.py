"""How many gems a purchase loses by its refunds and disputes, and gets back. Pure.

Invariant: what was taken back for a purchase, less what was returned, is in proportion to the
money of all reversals that stand, rounded down, and at most what was bought. So the order in which
reversals are seen, and how often, changes no total; and partial refunds never take more than the
whole one would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from account_svc.domain.purchases import Purchase
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState
from account_svc.domain.wallets import BalanceChange
from mesh.contract.idempotency import operation_id

CLAWBACK = "clawback"
"""The kind of the saga that follows a charge's reversals."""


@dataclass(frozen=True, slots=True)
class Clawback:
    """A reversal of a credited purchase, with the gems that were taken for it and returned."""

    kind: ReversalKind
    reversal_id: str
    charge_id: str
    amount_minor: int
    state: ReversalState
    taken_gems: int
    returned_gems: int = 0

    @property
    def clawback_id(self) -> str:
        """The id of the ledger entry that takes the gems."""
        return operation_id(self.kind, CLAWBACK, self.reversal_id)

    @property
    def return_id(self) -> str:
        """The id of the ledger entry that returns them."""
        return operation_id(self.kind.undone_kind, CLAWBACK, self.reversal_id)

    @property
    def stands(self) -> bool:
        """Whether its money is not ours."""
        return self.state is not ReversalState.UNDONE


@dataclass(frozen=True, slots=True)
class ClawbackUpdate:
    """The next state of one clawback, and the change of the wallet that belongs to it, if any."""

    clawback: Clawback
    change: BalanceChange | None


@dataclass(frozen=True, slots=True)
class ClawbackTotal:
    """All of a purchase's clawbacks that stand: their money, and the gems taken for them."""

    given_back_minor: int
    taken_gems: int


def gems_for(purchase: Purchase, given_back_minor: int) -> int:
    """The gems to take back for that much of the purchase's money, rounded down."""
    share_minor = min(given_back_minor, purchase.price_minor)
    return purchase.amount_gems * share_minor // purchase.price_minor


def total_of(purchase: Purchase, clawbacks: Sequence[Clawback]) -> ClawbackTotal:
    """The total of a purchase whose clawbacks these are."""
    given_back_minor = sum(each.amount_minor for each in clawbacks if each.stands)
    return ClawbackTotal(given_back_minor, gems_for(purchase, given_back_minor))


def updates(
    purchase: Purchase, stored: Sequence[Clawback], reversals: Sequence[Reversal]
) -> list[ClawbackUpdate]:
    """What to store and to change so that the purchase follows its reversals. Empty when it does.

    A reversal that is older than what is stored of it changes nothing.
    """
    by_id: dict[tuple[ReversalKind, str], Clawback] = {
        (each.kind, each.reversal_id): each for each in stored
    }
    made: list[ClawbackUpdate] = []
    for reversal in sorted(reversals, key=lambda each: (each.kind, each.reversal_id)):
        known = by_id.get((reversal.kind, reversal.reversal_id))
        if known is not None and not known.state.is_before(reversal.state):
            continue
        update = _update(purchase, by_id, known, reversal)
        by_id[reversal.kind, reversal.reversal_id] = update.clawback
        made.append(update)
    return made


def _update(
    purchase: Purchase,
    by_id: Mapping[tuple[ReversalKind, str], Clawback],
    known: Clawback | None,
    reversal: Reversal,
) -> ClawbackUpdate:
    total = total_of(purchase, list(by_id.values()))
    if known is None:
        new = Clawback(
            reversal.kind,
            reversal.reversal_id,
            reversal.charge_id,
            reversal.amount_minor,
            reversal.state,
            taken_gems=0,
        )
        if not new.stands:
            return ClawbackUpdate(new, None)
        grown_minor = total.given_back_minor + new.amount_minor
        new = replace(new, taken_gems=gems_for(purchase, grown_minor) - total.taken_gems)
        change = _change(purchase, new.clawback_id, new.kind, -new.taken_gems, may_owe=True)
        return ClawbackUpdate(new, change)
    moved = replace(known, state=reversal.state)
    if moved.stands:
        return ClawbackUpdate(moved, None)
    left_minor = total.given_back_minor - known.amount_minor
    moved = replace(moved, returned_gems=total.taken_gems - gems_for(purchase, left_minor))
    kind = moved.kind.undone_kind
    return ClawbackUpdate(moved, _change(purchase, moved.return_id, kind, moved.returned_gems))


def _change(
    purchase: Purchase, change_id: str, kind: str, amount_gems: int, *, may_owe: bool = False
) -> BalanceChange | None:
    if not amount_gems:
        return None
    return BalanceChange(change_id, purchase.user_id, kind, amount_gems, may_owe=may_owe)
