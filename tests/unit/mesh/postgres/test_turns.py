"""The turns of callers at a database."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ResourceExhausted
from mesh.postgres.database import Turns

MAX_WAITING = 3


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_callers_who_have_left_are_not_counted() -> None:
    turns = Turns(1, max_waiting=MAX_WAITING)
    await turns.acquire()
    leaving = [asyncio.create_task(turns.acquire()) for _ in range(MAX_WAITING)]
    await settle()
    with pytest.raises(ResourceExhausted):
        await turns.acquire()
    for each in leaving:
        each.cancel()
    await settle()
    waiting = asyncio.create_task(turns.acquire())
    await settle()
    assert not waiting.done()
    turns.release()
    await waiting


@given(st.lists(st.sampled_from(["come", "leave the first", "leave the last", "release"])))
def test_the_turns_go_to_those_who_wait_in_their_order(steps: list[str]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[str]) -> None:
    """Compares the turns with two plain lists: who has one, and who waits for one."""
    turns = Turns(1, max_waiting=MAX_WAITING)
    having: list[asyncio.Task[None]] = []
    waiting: list[asyncio.Task[None]] = []
    for step in steps:
        if step == "come":
            task = asyncio.create_task(turns.acquire())
            await settle()
            if len(waiting) == MAX_WAITING:
                assert isinstance(task.exception(), ResourceExhausted)
            else:
                (waiting if having else having).append(task)
        elif step == "release" and having:
            having.pop()
            turns.release()
            having += [waiting.pop(0)] if waiting else []
        elif step.startswith("leave") and waiting:
            waiting.pop(0 if step.endswith("first") else -1).cancel()
        await settle()
        assert all(task.done() for task in having)
        assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
