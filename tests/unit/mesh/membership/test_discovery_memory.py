"""The instances that stay on the list while registries start and stop."""

from mesh.contract.instances import Instance, InstanceState
from mesh.membership.instance_memory import InstanceMemory

A = Instance("a", "s", "host:1")
B = Instance("b", "s", "host:2")
OTHER = Instance("other", "o", "host:3")


def test_within_one_watch_the_last_snapshot_is_the_list() -> None:
    memory = InstanceMemory()
    memory.reconnect()
    memory.take([A, B])
    memory.take([B])
    assert memory.merged() == {"b": B}


def test_a_registry_that_forgot_everything_takes_no_instance_off_the_list() -> None:
    memory = InstanceMemory()
    memory.reconnect()
    memory.take([A, B])
    memory.reconnect()
    memory.take([])
    assert memory.merged() == {"a": A, "b": B}


def test_an_instance_that_did_not_come_back_by_then_is_gone() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.settle()
    assert memory.merged() == {"a": A}


def test_the_new_registrys_entry_of_an_instance_wins() -> None:
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
    assert not memory.take([])
    assert memory.merged() == {"b": B}


def test_a_second_loss_before_all_has_settled_still_takes_no_instance_off() -> None:
    memory = InstanceMemory()
    memory.take([A, B])
    memory.reconnect()
    memory.take([A])
    memory.reconnect()
    memory.take([])
    assert memory.merged() == {"a": A, "b": B}


def test_leases_that_run_out_together_leave_a_service_with_whom_it_had() -> None:
    memory = InstanceMemory()
    other = Instance("o", "other", "host:3")
    memory.take([A, B, other])
    assert memory.take([other])
    assert memory.merged() == {"a": A, "b": B, "o": other}
    assert not memory.take([A, other]), "nobody else stays because of that"
    assert memory.merged() == {"a": A, "b": B, "o": other}
    memory.settle()
    assert memory.merged() == {"a": A, "o": other}


def test_the_last_instance_whose_lease_ran_out_is_gone_once_settled() -> None:
    memory = InstanceMemory()
    memory.take([A])
    assert memory.take([])
    memory.settle()
    assert memory.merged() == {}
    assert not memory.take([])


def test_the_last_instance_goes_at_once_when_it_said_that_it_leaves() -> None:
    memory = InstanceMemory()
    memory.take([A])
    memory.take([Instance("a", "s", "host:1", InstanceState.DRAINING)])
    assert not memory.take([])
    assert memory.merged() == {}


def test_a_draining_instance_does_not_replace_those_with_expired_leases() -> None:
    memory = InstanceMemory()
    leaving = Instance("b", "s", "host:2", InstanceState.DRAINING)
    memory.take([A, leaving])
    assert memory.take([leaving])
    assert memory.merged() == {"a": A, "b": leaving}
