"""Waits that say what they wait for, when it takes longer than people wait without a word."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

FIRST_REPORT_SECONDS = 3.0
NEXT_REPORT_SECONDS = 10.0

T = TypeVar("T")


async def reported(
    work: Awaitable[T],
    missing: Callable[[], Sequence[str]],
    say: Callable[[str], None],
    *,
    first_seconds: float = FIRST_REPORT_SECONDS,
    next_seconds: float = NEXT_REPORT_SECONDS,
) -> T:
    """The result of `work`. While it takes longer than `first_seconds`, `say` gets a sentence with
    what is `missing`, and again every `next_seconds`. Cancels the work when it is cancelled."""
    task = asyncio.ensure_future(work)
    pause_seconds = first_seconds
    try:
        while not (await asyncio.wait([task], timeout=pause_seconds))[0]:
            if names := missing():
                say(sentence(names))
            pause_seconds = next_seconds
        return await task
    finally:
        task.cancel()


def not_ended(names: Sequence[str]) -> list[str]:
    """What is missing while processes stop; empty if none is left."""
    return [f"{', '.join(names)} not ended yet"] if names else []


def sentence(missing: Sequence[str]) -> str:
    """What people read while they wait."""
    return f"Waiting: {'; '.join(missing)}."
