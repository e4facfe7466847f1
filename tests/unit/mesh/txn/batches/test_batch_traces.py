"""What a batch takes, and whose trace it has: its one call's, or a trace of its own."""

import asyncio
from collections.abc import Sequence
from typing import Any

from mesh.deadlines import Deadline
from mesh.tracing import begin_trace, current_traceparent
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import No
from mesh.txn.sides import OperationPair


class Coordinator:
    """Refuses everything, and records the trace of each batch."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], str]] = []

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> dict[str, No]:
        self.batches.append(([work.id for work in batch], current_traceparent()))
        return {work.id: No("REFUSED") for work in batch}


async def submit(group_commit: GroupCommit, name: str) -> str:
    """Submits in a new call, and returns the call's traceparent."""

    async def call() -> str:
        begin_trace("")
        await group_commit.submit(
            OperationPair(name, name, first=name, second=name), Deadline.after(5)
        )
        return current_traceparent()

    return await asyncio.create_task(call())


async def test_a_lone_work_keeps_its_calls_trace_and_a_batch_has_its_own() -> None:
    coordinator: Any = Coordinator()
    group_commit = GroupCommit(coordinator)
    lone = await submit(group_commit, "a")
    both = await asyncio.gather(submit(group_commit, "b"), submit(group_commit, "c"))
    last = await submit(group_commit, "d")
    (_, first), (names, batch), (_, fourth) = coordinator.batches
    assert (first, names, fourth) == (lone, ["b", "c"], last)
    assert batch not in ("", lone, last, *both)


async def test_a_batch_takes_at_most_as_many_operations_as_it_may() -> None:
    coordinator: Any = Coordinator()
    group_commit = GroupCommit(coordinator, max_batch=2)
    await asyncio.gather(*(submit(group_commit, name) for name in "abcde"))
    assert [names for names, _ in coordinator.batches] == [["a", "b"], ["c", "d"], ["e"]]
