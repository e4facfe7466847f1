"""Who gives up a place for a newcomer: the site that holds the most, with its oldest holding."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.serving.callers import MEMBER, CallerBounds
from mesh.serving.places import Places

BOUNDS = CallerBounds(members=3, strangers=6, address=4)
Step = tuple[str | None, int]


def taken(*sites: str) -> Places[int]:
    """Places taken by these sites one after another."""
    places: Places[int] = Places(BOUNDS)
    for holding, site in enumerate(sites):
        places.take(site, holding)
    return places


def test_nothing_is_in_the_way_of_a_site_that_finds_a_place() -> None:
    assert list(taken("a", "a", "a", "b").in_the_way_of("a")) == []


def test_a_site_at_its_bound_gives_up_its_own_oldest() -> None:
    assert list(taken("b", "a", "a", "a", "a").in_the_way_of("a")) == [1, 2, 3, 4]


def test_the_site_with_the_most_makes_room_for_others() -> None:
    places = taken("b", "a", "a", "b", "a", "c")
    assert list(places.in_the_way_of("d")) == [1, 2, 4]
    assert places.give_back(1)
    assert not places.give_back(1)
    assert list(places.in_the_way_of("d")) == []


def test_places_of_members_are_in_nobodys_way() -> None:
    places: Places[int] = Places(BOUNDS)
    for holding in range(BOUNDS.members):
        places.take(MEMBER, holding)
    assert places.reached(MEMBER) is not None
    assert list(places.in_the_way_of("a")) == []


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.integers(1, 3))))
def test_a_newcomer_finds_a_place_as_soon_as_others_give_theirs_up(steps: list[Step]) -> None:
    places: Places[int] = Places(BOUNDS)
    held: dict[int, Step] = {}
    for holding, (caller, count) in enumerate(steps):
        if caller is MEMBER:
            if places.reached(MEMBER) is not None:
                continue
        else:
            while places.reached(caller) is not None:
                oldest = next(places.in_the_way_of(caller))
                assert oldest == min(each for each in held if held[each][0] == held[oldest][0])
                places.give_back(oldest)
                del held[oldest]
        places.take(caller, holding, count)
        held[holding] = caller, count
    of_caller: Counter[str | None] = Counter()
    for caller, count in held.values():
        of_caller[caller] += count
    beyond = 2  # the last that was taken may have three places
    assert sum(of_caller.values()) - of_caller[None] <= BOUNDS.strangers + beyond
    assert all(of_caller[site] <= BOUNDS.address + beyond for site in "abcd")
