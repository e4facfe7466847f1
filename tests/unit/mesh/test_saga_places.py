"""Places for sagas: due ones keep theirs, and no owner has too many."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.saga.definition import NewSaga, Saga
from mesh.saga.places import Places

MAX_DUE, MAX_BEGUN, MAX_OF_OWNER = 3, 5, 2


def driven(owner: str) -> Saga:
    return Saga("id", "order", owner, "ASKING", {}, 0, "", "lease", False)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("split"), st.lists(st.sampled_from("abcdef"), max_size=12)),
        st.tuples(st.sampled_from(["enter", "lease", "leave"]), st.sampled_from("abcdef")),
    ),
    max_size=40,
)
"""Sagas begin together and enter later, one by one; due ones of an owner enter; one leaves."""


@given(STEPS)
def test_no_kind_and_no_owner_exceeds_its_places_in_whatever_order_sagas_begin_and_enter(
    steps: list[tuple[str, list[str] | str]],
) -> None:
    places = Places(max_due=MAX_DUE, max_begun=MAX_BEGUN, max_of_owner=MAX_OF_OWNER)
    entering: list[str] = []
    running: list[tuple[str, bool]] = []
    for action, named in steps:
        if action == "split":
            check_split(places, list(named), running)
            entering += named
        elif action == "leave" and running:
            owner, is_begun = running.pop(0)
            places.leave(driven(owner), is_begun=is_begun)
        else:
            is_begun = action == "enter" and bool(entering)
            owner = entering.pop(0) if is_begun else str(named)
            if places.enter(driven(owner), is_begun=is_begun):
                running.append((owner, is_begun))
        counts = Counter(owner for owner, _ in running)
        begun_count = sum(is_begun for _, is_begun in running)
        assert places.driven() == counts
        assert begun_count <= MAX_BEGUN
        assert places.free_for_due == MAX_DUE - (len(running) - begun_count)
        assert max(counts.values(), default=0) <= MAX_OF_OWNER
        assert places.is_an_owner_full == (MAX_OF_OWNER in counts.values())


def check_split(places: Places, owners: list[str], running: list[tuple[str, bool]]) -> None:
    """Each saga is placed or waits, and none waits without a reason."""
    new = [NewSaga(str(number), owner) for number, owner in enumerate(owners)]
    placed, waiting = places.split(new)
    assert sorted([*placed, *waiting], key=lambda each: int(each.saga_id)) == new
    begun_count = sum(is_begun for _, is_begun in running) + len(placed)
    counts = Counter(owner for owner, _ in running) + Counter(each.owner for each in placed)
    for each in placed:
        assert counts[each.owner] <= MAX_OF_OWNER
    for each in waiting:
        assert begun_count >= MAX_BEGUN or counts[each.owner] >= MAX_OF_OWNER


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=20))
def test_a_saga_enters_while_its_kind_and_its_owner_have_a_place(
    entering: list[tuple[str, bool]],
) -> None:
    places = Places(max_due=MAX_DUE, max_begun=MAX_BEGUN, max_of_owner=MAX_OF_OWNER)
    entered: list[tuple[str, bool]] = []
    for owner, is_begun in entering:
        room_of_kind = MAX_BEGUN if is_begun else MAX_DUE
        is_free = (
            sum(kind == is_begun for _, kind in entered) < room_of_kind
            and sum(other == owner for other, _ in entered) < MAX_OF_OWNER
        )
        assert places.enter(driven(owner), is_begun=is_begun) == is_free
        entered += [(owner, is_begun)] * is_free
    for owner, is_begun in entered:
        places.leave(driven(owner), is_begun=is_begun)
    assert places.free_for_due == MAX_DUE
    assert not places.driven()
    assert not places.is_an_owner_full
