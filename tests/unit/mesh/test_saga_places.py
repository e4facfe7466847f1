"""Places for sagas: due ones keep theirs, and no owner has too many."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.saga.definition import NewSaga, Saga
from mesh.saga.places import Places

MAX_DUE, MAX_BEGUN, MAX_OF_OWNER = 3, 5, 2


def driven(owner: str) -> Saga:
    return Saga("id", "order", owner, "ASKING", {}, 0, "", "lease", False)


BATCHES = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdef"), max_size=12), st.integers(0, MAX_BEGUN)),
    max_size=6,
)
"""The owners of the sagas that begin together, and how many leave afterwards."""


@given(BATCHES)
def test_begun_sagas_take_neither_the_places_of_due_ones_nor_too_many_of_an_owner(
    batches: list[tuple[list[str], int]],
) -> None:
    places = Places(max_due=MAX_DUE, max_begun=MAX_BEGUN, max_of_owner=MAX_OF_OWNER)
    running: list[Saga] = []
    for owners, leaving_count in batches:
        new = [NewSaga(str(number), owner) for number, owner in enumerate(owners)]
        placed, waiting = places.split(new)
        assert sorted([*placed, *waiting], key=lambda each: int(each.saga_id)) == new
        for each in placed:
            saga = driven(each.owner)
            places.enter(saga, is_begun=True)
            running.append(saga)
        counts = Counter(saga.owner for saga in running)
        assert places.driven() == counts
        assert len(running) <= MAX_BEGUN
        assert max(counts.values(), default=0) <= MAX_OF_OWNER
        assert places.is_an_owner_full == (MAX_OF_OWNER in counts.values())
        for each in waiting:
            assert len(running) == MAX_BEGUN or counts[each.owner] == MAX_OF_OWNER
        assert places.free_for_due == MAX_DUE
        for _ in range(min(leaving_count, len(running))):
            places.leave(running.pop(), is_begun=True)


@given(st.lists(st.booleans(), max_size=20))
def test_a_place_is_free_again_once_its_saga_has_left(are_begun: list[bool]) -> None:
    places = Places(max_due=MAX_DUE, max_begun=MAX_BEGUN, max_of_owner=MAX_OF_OWNER)
    for is_begun in are_begun:
        places.enter(driven("a"), is_begun=is_begun)
    assert places.free_for_due == max(0, MAX_DUE - are_begun.count(False))
    for is_begun in are_begun:
        places.leave(driven("a"), is_begun=is_begun)
    assert places.free_for_due == MAX_DUE
    assert not places.driven()
    assert not places.is_an_owner_full
    assert len(places.split([NewSaga("1", "a")] * 3)[0]) == MAX_OF_OWNER
