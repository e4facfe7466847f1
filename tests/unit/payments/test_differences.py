"""What a report of a comparison lists, counts, and has followed."""

from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.clawbacks.differences import (
    MAX_DIFFERENCES,
    Difference,
    DifferenceKind,
    Report,
)
from account_svc.domain.payments import Period

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
