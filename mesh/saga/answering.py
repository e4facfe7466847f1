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
