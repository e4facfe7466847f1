"""What a report of a comparison lists, counts, and has followed."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.clawbacks.differences import (
    MAX_DIFFERENCES,
    MAX_REMEMBERED,
    Difference,
    DifferenceKind,
    Report,
    compare_reversal,
)
from account_svc.domain.clawbacks.gems import Clawback
from account_svc.domain.payments import Period
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState

SUBJECTS = st.lists(st.integers(0, 5), max_size=20)


def unfollowed(number: int) -> Difference:
    return Difference(DifferenceKind.UNFOLLOWED_REVERSAL, f"re_{number}", "", f"ch_{number}")


@given(before=st.sampled_from([0, MAX_DIFFERENCES - 2, MAX_DIFFERENCES + 1]), subjects=SUBJECTS)
def test_every_difference_counts_once_and_is_followed_however_many_others_there_are(
    before: int, subjects: list[int]
) -> None:
    report = Report(Period(0, 1))
    for number in range(before):
        report.add(Difference(DifferenceKind.UNCREDITED_CHARGE, str(number), ""))
    for number in subjects:
        report.add(unfollowed(number))
    assert report.counts[DifferenceKind.UNFOLLOWED_REVERSAL] == len(set(subjects))
    assert report.charge_ids == {f"ch_{number}" for number in subjects}
    assert len(report.differences) == min(before + len(set(subjects)), MAX_DIFFERENCES)


def test_a_report_remembers_a_bounded_number_of_differences_and_counts_all() -> None:
    report = Report(Period(0, 1))
    for number in range(MAX_REMEMBERED + 1):
        report.add(unfollowed(number))
        report.add(unfollowed(0))
    assert report.counts_by_kind()["unfollowed_reversal"] == MAX_REMEMBERED + 1
    report.add(unfollowed(MAX_REMEMBERED))
    assert report.counts_by_kind()["unfollowed_reversal"] == MAX_REMEMBERED + 2
    assert len(report.charge_ids) == MAX_REMEMBERED + 1


@pytest.mark.parametrize(("there", "here"), list(product(ReversalState, ReversalState)))
def test_only_a_reversal_that_is_further_there_is_unfollowed(
    there: ReversalState, here: ReversalState
) -> None:
    reversal = Reversal(ReversalKind.REFUND, "re_1", "ch_1", 99, there)
    stored = Clawback(ReversalKind.REFUND, "re_1", "ch_1", 99, here, 100)
    found = compare_reversal(reversal, stored)
    assert (found is not None) == here.is_before(there)


@pytest.mark.parametrize(("there", "here"), list(product(ReversalState, ReversalState)))
def test_a_reversal_with_another_amount_is_followed_if_it_is_further_there(
    there: ReversalState, here: ReversalState
) -> None:
    reversal = Reversal(ReversalKind.REFUND, "re_1", "ch_1", 98, there)
    stored = Clawback(ReversalKind.REFUND, "re_1", "ch_1", 99, here, 100)
    found = compare_reversal(reversal, stored)
    assert found is not None
    assert found.kind is DifferenceKind.OTHER_AMOUNT
    assert bool(found.charge_id) == here.is_before(there)
