"""An operation that is BUSY again and again runs alone, beside the batches."""

import asyncio
from collections.abc import Sequence
from typing import Any

from mesh.deadlines import Deadline
from mesh.txn.group_commit import MAX_RETRIES_TOGETHER, GroupCommit
from mesh.txn.model import BUSY, No
from mesh.txn.sides import OperationPair

DONE = No("DONE")


class Coordinator:
    """Says that "busy" is BUSY while it is in company, and answers "slow" when it may."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_answer = asyncio.Event()

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> dict[str, No]:
        ids = [work.id for work in batch]
        self.batches.append(ids)
        if "slow" in ids:
            await self.may_answer.wait()
        return {id: No(BUSY) if id == "busy" and len(ids) > 1 else DONE for id in ids}


def submit(group_commit: GroupCommit, id: str) -> "asyncio.Task[object]":
    return asyncio.create_task(
        group_commit.submit(OperationPair(id, id, first=id, second=id), Deadline.after(5))
    )


async def test_it_runs_alone_after_some_retries_though_no_slot_is_free() -> None:
    coordinator: Any = Coordinator()
    group_commit = GroupCommit(coordinator, jitter=lambda: 0.0)
    busy = submit(group_commit, "busy")
    others: list[asyncio.Task[object]] = []
    async with asyncio.timeout(5):
        for number in range(MAX_RETRIES_TOGETHER):
            # It is retried in a later turn, and always finds company.
            while sum("busy" in ids for ids in coordinator.batches) == number:
                others.append(submit(group_commit, f"other {len(others)}"))
                await asyncio.sleep(0)
        slow = submit(group_commit, "slow")
        assert await busy == DONE
    together = [ids for ids in coordinator.batches if "busy" in ids]
    assert [len(ids) > 1 for ids in together] == [True] * MAX_RETRIES_TOGETHER + [False]
    assert not slow.done()
    coordinator.may_answer.set()
    assert await slow == DONE
    await asyncio.gather(*others)


async def test_its_owners_next_operation_still_waits_for_it() -> None:
    coordinator: Any = Coordinator()
    group_commit = GroupCommit(coordinator, jitter=lambda: 0.0)
    order: list[str] = []

    async def note(id: str) -> None:
        await group_commit.submit(
            OperationPair(id, "owner", first=id, second=id), Deadline.after(5)
        )
        order.append(id)

    async with asyncio.timeout(5):
        await asyncio.gather(note("busy"), note("next"), note("last"))
    assert order == ["busy", "next", "last"]
