"""Gems that go back with the money: any order and any repeats of the provider's reports end in the
same state."""

from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.clawbacks.gems import Clawback, gems_for, total_of, updates
from account_svc.domain.purchases import Purchase
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState

CHARGE = "ch_1"


def purchase(amount_gems: int = 100, price_minor: int = 99) -> Purchase:
    return Purchase("p", "i", "mira", amount_gems, price_minor, "USD", "credit_card", "sandbox")


def refund(name: str, amount_minor: int, state: ReversalState) -> Reversal:
    return Reversal(ReversalKind.REFUND, name, CHARGE, amount_minor, state)


@dataclass
class Books:
    """What is stored of a purchase, and the sum of its ledger entries."""

    purchase: Purchase
    stored: list[Clawback]
    moved_gems: int = 0

    def see(self, *reversals: Reversal) -> None:
        for update in updates(self.purchase, self.stored, reversals):
            kept = [each for each in self.stored if each.clawback_id != update.clawback.clawback_id]
            self.stored = [*kept, update.clawback]
            change_gems = update.change.amount_gems if update.change is not None else 0
            assert update.change is None or change_gems != 0
            self.moved_gems += change_gems

    def end(self) -> tuple[int, dict[str, ReversalState]]:
        return self.moved_gems, {each.reversal_id: each.state for each in self.stored}


Lives = list[tuple[ReversalKind, int, list[ReversalState]]]
LIVES: st.SearchStrategy[Lives] = st.lists(
    st.tuples(
        st.sampled_from(list(ReversalKind)),
        st.integers(1, 400),
        st.lists(st.sampled_from(list(ReversalState)), min_size=1, max_size=3),
    ),
    max_size=6,
)


@given(st.integers(1, 5000), st.integers(1, 700), LIVES, st.randoms(use_true_random=False))
def test_reports_in_any_order_and_with_repeats_end_the_same(
    amount_gems: int, price_minor: int, lives: Lives, randoms: Random
) -> None:
    bought = purchase(amount_gems, price_minor)
    reports = [
        Reversal(kind, f"{kind}-{number}", CHARGE, amount_minor, state)
        for number, (kind, amount_minor, states) in enumerate(lives)
        for state in states
    ]
    in_order, shuffled = Books(bought, []), Books(bought, [])
    in_order.see(*sorted(reports, key=lambda each: list(ReversalState).index(each.state)))
    repeated = reports * 2
    randoms.shuffle(repeated)
    for report in repeated:
        shuffled.see(report)
    assert shuffled.end() == in_order.end()
    standing_minor = sum(each.amount_minor for each in shuffled.stored if each.stands)
    assert shuffled.moved_gems == -gems_for(bought, standing_minor)
    assert 0 <= -shuffled.moved_gems <= amount_gems


@given(st.integers(1, 10**9), st.integers(1, 10**12), st.lists(st.integers(1, 10**12), max_size=8))
def test_partial_refunds_take_no_more_than_the_whole(
    amount_gems: int, price_minor: int, parts: list[int]
) -> None:
    books = Books(purchase(amount_gems, price_minor), [])
    for number, part in enumerate(parts):
        books.see(refund(f"re_{number}", part, ReversalState.SETTLED))
        assert 0 <= -books.moved_gems <= amount_gems
    if sum(parts) >= price_minor:
        assert -books.moved_gems == amount_gems


def test_three_thirds_take_all() -> None:
    books = Books(purchase(100, 99), [])
    for name in ("re_1", "re_2", "re_3"):
        books.see(refund(name, 33, ReversalState.SETTLED))
    assert [each.taken_gems for each in books.stored] == [33, 33, 34]
    assert total_of(books.purchase, books.stored).taken_gems == 100


def test_a_reversal_that_was_undone_before_it_was_seen_changes_nothing() -> None:
    books = Books(purchase(), [])
    books.see(refund("re_1", 99, ReversalState.UNDONE))
    books.see(refund("re_1", 99, ReversalState.PENDING))
    assert books.end() == (0, {"re_1": ReversalState.UNDONE})


def test_a_refund_and_a_dispute_of_the_same_money_take_it_once() -> None:
    books = Books(purchase(), [])
    books.see(refund("re_1", 99, ReversalState.SETTLED))
    books.see(Reversal(ReversalKind.DISPUTE, "dp_1", CHARGE, 99, ReversalState.PENDING))
    assert books.moved_gems == -100
    books.see(Reversal(ReversalKind.DISPUTE, "dp_1", CHARGE, 99, ReversalState.UNDONE))
    assert books.moved_gems == -100
    books.see(refund("re_1", 99, ReversalState.UNDONE))
    assert books.moved_gems == 0
