"""The response of a call whose saga may take longer than the call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mesh.deadlines import Deadline
from mesh.saga.definition import Saga

ANSWER_SECONDS = 0.3
"""How long before its deadline the call stops waiting, so that its response arrives in time."""
PENDING_PAUSE_SECONDS = 0.05

Record = TypeVar("Record")


def driven_to(driving: "asyncio.Task[Saga] | None", state: str) -> Saga | None:
    """The saga if this process itself has driven it to that state, so that nothing has to be
    read."""
    if driving is None or not driving.done() or driving.cancelled() or driving.exception():
        return None
    saga = driving.result()
    return saga if saga.state == state else None


async def record_in_time(
    find: Callable[[], Awaitable[Record]],
    is_pending: Callable[[Record], bool],
    driving: "asyncio.Task[Saga] | None",
    deadline: Deadline,
) -> Record:
    """The record of a saga as soon as it is no longer pending, or the pending record
    ANSWER_SECONDS before the deadline.

    `driving` is the saga's task if this process drives it; it continues in every case.
    """
    patience = deadline.shortened_to(deadline.remaining_seconds() - ANSWER_SECONDS)
    if driving is not None:
        await asyncio.wait({driving}, timeout=patience.remaining_seconds())
    while True:
        record = await find()
        if not is_pending(record) or patience.is_over():
            return record
        await asyncio.sleep(min(PENDING_PAUSE_SECONDS, patience.remaining_seconds()))
