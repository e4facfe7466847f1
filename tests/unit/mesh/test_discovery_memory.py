"""What stays on the list while registries come and go."""

from dataclasses import replace

from mesh.instance_memory import InstanceMemory
from mesh.instances import Instance, InstanceState

A = Instance("a", "s", "host:1")
B = Instance("b", "s", "host:2")
OTHER = Instance("other", "o", "host:3")


def test_within_one_watch_the_last_snapshot_is_the_list() -> None:
    memory = InstanceMemory()
    memory.reconnect()
    memory.take([A, B])
    memory.take([B])
    assert memory.merged() == {"b": B}


def test_a_registry_that_forgot_everything_takes_nobody_off_the_list() -> None:
    memory = InstanceMemory()
    memory.reconnect()
    memory.take([A, B])
    memory.reconnect()
    memory.take([])
    assert memory.merged() == {"a": A, "b": B}


def test_whoever_did_not_come_back_by_then_is_gone() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.settle()
    assert memory.merged() == {"a": A}


def test_what_the_new_registry_says_of_an_instance_wins() -> None:
    memory = InstanceMemory()
    memory.take([A])
    memory.reconnect()
    moved = Instance("a", "s", "host:9")
    memory.take([moved])
    assert memory.merged() == {"a": moved}


def test_an_instance_that_the_new_registry_listed_and_dropped_goes_at_once() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.take([])
    assert not memory.holds_some
    assert memory.merged() == {"b": B}


def test_a_second_loss_before_all_has_settled_still_takes_nobody_off() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.reconnect()
    memory.take([])
    assert memory.merged() == {"a": A, "b": B}


def test_the_last_of_a_service_is_held_until_it_is_released() -> None:
    memory = InstanceMemory()
    memory.take([A, B, OTHER])
    memory.take([B, OTHER])
    assert memory.merged() == {"b": B, "other": OTHER}
    memory.take([OTHER])
    assert memory.merged() == {"b": B, "other": OTHER}
    assert memory.holds_some
    memory.take([OTHER])
    assert memory.merged() == {"b": B, "other": OTHER}
    memory.release()
    assert memory.merged() == {"other": OTHER}
    assert not memory.holds_some


def test_all_that_go_at_once_are_held_until_one_of_their_service_is_back() -> None:
    memory = InstanceMemory()
    memory.take([A, B, OTHER])
    memory.take([])
    assert memory.merged() == {"a": A, "b": B, "other": OTHER}
    memory.take([A])
    assert memory.merged() == {"a": A, "other": OTHER}


def test_one_that_said_that_it_leaves_is_not_held() -> None:
    memory = InstanceMemory()
    memory.take([A])
    memory.take([replace(A, state=InstanceState.DRAINING)])
    memory.take([])
    assert memory.merged() == {}


def test_beside_one_that_leaves_the_last_that_serves_is_held() -> None:
    memory = InstanceMemory()
    leaving = replace(A, state=InstanceState.DRAINING)
    memory.take([leaving, B])
    memory.take([leaving])
    assert memory.merged() == {"a": leaving, "b": B}
