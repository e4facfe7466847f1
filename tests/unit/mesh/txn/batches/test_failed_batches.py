"""A batch that fails in an unforeseen way blocks nobody's later operations, and an operation that
makes each of its batches fail does so alone."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from mesh.deadlines import Deadline
from mesh.errors import Internal
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import No
from mesh.txn.sides import OperationPair


class Coordinator:
    """Fails the first batch once it is told to, and refuses the operations of the others."""

    def __init__(self, failure: BaseException) -> None:
        self.has_begun = asyncio.Event()
        self.may_fail = asyncio.Event()
        self._failure = failure

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> dict[str, No]:
        if not self.may_fail.is_set():
            self.has_begun.set()
            await self.may_fail.wait()
            raise self._failure
        return {work.id: No("REFUSED") for work in batch}


class Defective:
    """A coordinator that fails every batch with that operation, and refuses the others."""

    def __init__(self, poisonous: str) -> None:
        self._poisonous = poisonous

    async def run(self, batch: Sequence[OperationPair], deadline: Deadline) -> dict[str, No]:
        if any(work.id == self._poisonous for work in batch):
            raise KeyError(self._poisonous)
        return {work.id: No("REFUSED") for work in batch}


def work(name: str, owner: str = "one player") -> OperationPair:
    return OperationPair(name, owner, first=name, second=name)


FAILURES = pytest.mark.parametrize("failure", [RuntimeError(), asyncio.CancelledError()], ids=repr)


@FAILURES
async def test_the_operations_fail_and_the_owners_next_one_goes_on(failure: BaseException) -> None:
    coordinator: Any = Coordinator(failure)
    group_commit = GroupCommit(coordinator)
    first = asyncio.create_task(group_commit.submit(work("a"), Deadline.after(5)))
    await coordinator.has_begun.wait()
    second = asyncio.create_task(group_commit.submit(work("b"), Deadline.after(5)))
    coordinator.may_fail.set()
    async with asyncio.timeout(2):
        with pytest.raises(Internal):
            await first
        assert await second == No("REFUSED")


@FAILURES
async def test_a_caller_that_has_left_does_not_block_its_later_operations(
    failure: BaseException,
) -> None:
    coordinator: Any = Coordinator(failure)
    group_commit = GroupCommit(coordinator)
    first = asyncio.create_task(group_commit.submit(work("a"), Deadline.after(5)))
    await coordinator.has_begun.wait()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    coordinator.may_fail.set()
    async with asyncio.timeout(2):
        assert await group_commit.submit(work("b"), Deadline.after(5)) == No("REFUSED")


async def test_an_operation_that_meets_a_bug_fails_alone() -> None:
    coordinator: Any = Defective("c")
    group_commit = GroupCommit(coordinator)
    *others, poisonous = await asyncio.gather(
        *(group_commit.submit(work(name, owner=name), Deadline.after(5)) for name in "abdefgc"),
        return_exceptions=True,
    )
    assert others == [No("REFUSED")] * 6
    assert isinstance(poisonous, Internal)
