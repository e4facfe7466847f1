"""What stays on the list while registries come and go."""

from mesh.instance_memory import InstanceMemory
from mesh.instances import Instance

A = Instance("a", "s", "host:1")
B = Instance("b", "s", "host:2")


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
    assert memory.merged() == {"b": B}


def test_a_second_loss_before_all_has_settled_still_takes_nobody_off() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.reconnect()
    memory.take([])
    assert memory.merged() == {"a": A, "b": B}
