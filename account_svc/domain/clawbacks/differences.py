"""What a comparison of the provider, the purchases and the ledger can find. Pure.

uncredited_charge       money was kept for a purchase that is unknown or was not credited
parked_purchase         a purchase under way that waits for a person: its money may have been taken
uncharged_credit        gems were credited, and the provider has no such money
other_amount            a charge of another amount or currency than its purchase
unfollowed_reversal     a refund or dispute whose gems do not follow it yet
unknown_reversal        a clawback whose refund or dispute the provider does not have
ledger                  a purchase or clawback and its ledger entry do not match
uncompared              what was not looked up, since too much had to be: the report is incomplete
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from account_svc.domain.clawbacks.gems import Clawback
from account_svc.domain.payments import BookedCharge, ChargeState, Period
from account_svc.domain.purchases import PurchaseRecord, PurchaseState
from account_svc.domain.reversals import Reversal

MAX_DIFFERENCES = 1000
"""The most that a report lists. It counts the others too, and has all charges to follow."""
MAX_REMEMBERED = 10_000
"""The most that a report recognizes when they are added again. Further ones count each time."""


class DifferenceKind(StrEnum):
    """See the module."""

    UNCREDITED_CHARGE = "uncredited_charge"
    PARKED_PURCHASE = "parked_purchase"
    UNCHARGED_CREDIT = "uncharged_credit"
    OTHER_AMOUNT = "other_amount"
    UNFOLLOWED_REVERSAL = "unfollowed_reversal"
    UNKNOWN_REVERSAL = "unknown_reversal"
    LEDGER = "ledger"
    UNCOMPARED = "uncompared"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `subject_id` is the id of the purchase, charge, reversal or ledger entry;
    `charge_id` is the provider's id of the charge to follow, and empty when none is."""

    kind: DifferenceKind
    subject_id: str
    detail: str
    charge_id: str = ""


@dataclass(slots=True)
class Report:
    """What was compared, and what differs."""

    period: Period
    charge_count: int = 0
    purchase_count: int = 0
    reversal_count: int = 0
    counts: Counter[DifferenceKind] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    """The first MAX_DIFFERENCES."""
    charge_ids: set[str] = field(default_factory=set)
    """The charges to follow, of all differences."""
    _seen: set[Difference] = field(default_factory=set)

    def add(self, difference: Difference | None) -> None:
        """Adds a difference. Idempotent for the first MAX_REMEMBERED."""
        if difference is None or difference in self._seen:
            return
        if len(self._seen) < MAX_REMEMBERED:
            self._seen.add(difference)
        self.counts[difference.kind] += 1
        if difference.charge_id:
            self.charge_ids.add(difference.charge_id)
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(difference)

    def add_listed(
        self, kind: DifferenceKind, count: int, listed: Sequence[tuple[str, str]]
    ) -> None:
        """Adds `count` differences, of which the first ones are given by subject and detail."""
        for subject_id, detail in listed:
            self.add(Difference(kind, subject_id, detail))
        self.counts[kind] += count - len(listed)

    def counts_by_kind(self) -> Mapping[str, int]:
        """The number of differences of every kind, also 0."""
        return {str(kind): self.counts[kind] for kind in DifferenceKind}


def compare_charge(charge: BookedCharge, record: PurchaseRecord | None) -> Difference | None:
    """A charge of the provider, and the purchase that its key names. A purchase under way is
    none here: its saga settles it, or is parked and listed as such."""
    is_paid = charge.state in (ChargeState.SUCCEEDED, ChargeState.REFUNDED)
    if record is None:
        if charge.state is not ChargeState.SUCCEEDED:
            return None
        detail = f"{charge.amount_minor} {charge.currency} by {charge.charge_id}: no purchase"
        return Difference(DifferenceKind.UNCREDITED_CHARGE, charge.key, detail)
    purchase = record.purchase
    if is_paid and (charge.amount_minor, charge.currency) != (
        purchase.price_minor,
        purchase.currency,
    ):
        detail = (
            f"charged {charge.amount_minor} {charge.currency}, "
            f"priced {purchase.price_minor} {purchase.currency}"
        )
        return Difference(DifferenceKind.OTHER_AMOUNT, purchase.purchase_id, detail)
    if charge.state is ChargeState.SUCCEEDED and record.state.is_refused:
        detail = f"charge {charge.charge_id} succeeded, the purchase is {record.state}"
        return Difference(DifferenceKind.UNCREDITED_CHARGE, purchase.purchase_id, detail)
    return None if is_paid else uncharged(record, charge)


def uncharged(record: PurchaseRecord, charge: BookedCharge | None) -> Difference | None:
    """A purchase for which the provider has no money."""
    if record.state is not PurchaseState.CREDITED:
        return None
    detail = "no charge" if charge is None else f"charge {charge.charge_id} is {charge.state}"
    return Difference(DifferenceKind.UNCHARGED_CREDIT, record.purchase.purchase_id, detail)


def compare_reversal(reversal: Reversal, stored: Clawback | None) -> Difference | None:
    """A refund or dispute of a credited purchase, and what is stored of it. What is stored may be
    newer, because it may have been read later."""
    is_behind = stored is None or stored.state.is_before(reversal.state)
    if stored is not None and stored.amount_minor != reversal.amount_minor:
        detail = f"{reversal.amount_minor} there, {stored.amount_minor} here"
        to_follow = reversal.charge_id if is_behind else ""
        return Difference(DifferenceKind.OTHER_AMOUNT, reversal.reversal_id, detail, to_follow)
    if not is_behind:
        return None
    known = "unknown" if stored is None else stored.state
    detail = f"{reversal.kind} of {reversal.amount_minor}: {reversal.state} there, {known} here"
    return Difference(
        DifferenceKind.UNFOLLOWED_REVERSAL, reversal.reversal_id, detail, reversal.charge_id
    )
