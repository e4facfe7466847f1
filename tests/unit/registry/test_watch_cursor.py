"""The snapshots that a watcher gets."""

from mesh.contract.instances import Instance
from registry.domain.leases import Snapshot
from registry.domain.watch_cursor import WatchCursor

A = Instance("a-1", "a", "host:1")
B = Instance("b-1", "b", "host:2")


def test_a_new_watcher_is_sent_an_empty_list_too() -> None:
    empty = Snapshot(7, (), "list")
    assert WatchCursor("", "", 0).advance(empty) == empty


def test_a_snapshot_is_sent_once() -> None:
    cursor = WatchCursor("", "", 0)
    assert cursor.advance(Snapshot(7, (A,), "list")) is not None
    assert cursor.advance(Snapshot(7, (A,), "list")) is None


def test_a_change_of_another_service_is_not_sent_but_moves_the_cursor() -> None:
    cursor = WatchCursor("a", "", 0)
    assert cursor.advance(Snapshot(7, (A,), "list")) is not None
    assert cursor.advance(Snapshot(8, (A, B), "list")) is None
    assert cursor.revision == 8


def test_a_registry_that_is_behind_sends_nothing_until_it_has_caught_up() -> None:
    cursor = WatchCursor("", "list", 7)
    assert cursor.advance(Snapshot(5, (A, B), "list")) is None
    assert cursor.advance(Snapshot(7, (A,), "list")) is None
    assert cursor.advance(Snapshot(8, (), "list")) == Snapshot(8, (), "list")


def test_a_watcher_that_comes_back_is_sent_its_first_list_even_if_unchanged() -> None:
    cursor = WatchCursor("a", "list", 7)
    assert cursor.advance(Snapshot(8, (A, B), "list")) == Snapshot(8, (A,), "list")


def test_another_list_is_sent_for_any_revision() -> None:
    cursor = WatchCursor("", "list", 7)
    assert cursor.advance(Snapshot(3, (A,), "another")) == Snapshot(3, (A,), "another")
    assert cursor.advance(Snapshot(4, (), "another")) == Snapshot(4, (), "another")
