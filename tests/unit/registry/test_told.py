"""What a watcher is told, and what not."""

from mesh.contract.instances import Instance
from registry.domain.leases import Snapshot
from registry.domain.watch_cursor import Told

A = Instance("a-1", "a", "host:1")
B = Instance("b-1", "b", "host:2")


def test_who_has_seen_nothing_is_told_of_an_empty_list_too() -> None:
    empty = Snapshot(7, (), "list")
    assert Told("", "", 0).news(empty) == empty


def test_a_snapshot_is_told_once() -> None:
    told = Told("", "", 0)
    assert told.news(Snapshot(7, (A,), "list")) is not None
    assert told.news(Snapshot(7, (A,), "list")) is None


def test_a_change_of_others_is_no_news_and_its_revision_is_known() -> None:
    told = Told("a", "", 0)
    assert told.news(Snapshot(7, (A,), "list")) is not None
    assert told.news(Snapshot(8, (A, B), "list")) is None
    assert told.revision == 8


def test_a_registry_that_is_behind_tells_nothing_until_it_has_caught_up() -> None:
    told = Told("", "list", 7)
    assert told.news(Snapshot(5, (A, B), "list")) is None
    assert told.news(Snapshot(7, (A,), "list")) is None
    assert told.news(Snapshot(8, (), "list")) == Snapshot(8, (), "list")


def test_the_first_list_of_a_watcher_that_comes_back_is_told_though_it_may_be_the_same() -> None:
    told = Told("a", "list", 7)
    assert told.news(Snapshot(8, (A, B), "list")) == Snapshot(8, (A,), "list")


def test_another_list_is_told_whatever_its_revision() -> None:
    told = Told("", "list", 7)
    assert told.news(Snapshot(3, (A,), "another")) == Snapshot(3, (A,), "another")
    assert told.news(Snapshot(4, (), "another")) == Snapshot(4, (), "another")
