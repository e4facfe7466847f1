"""Work that an instance repeats for as long as it lives, such as recovery and retention.

Pauses end at whole multiples of their length on the event loop's clock. So the work of one process
that is due each second shares one wake-up.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog

from mesh.errors import MeshError

INTERVAL_SECONDS = 1.0
SWEEP_SECONDS = 10.0
"""Work that waits for a signal is done at least so often without one."""

log = structlog.get_logger()


class Due:
    """Says that there may be work. `note` gets the answer of a standing question each second
    (`mesh.postgres.pulse`); the work waits with `wait`."""

    def __init__(
        self,
        also: Callable[[], bool] = lambda: False,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`also` says whether there is work that the question cannot see. `jitter` returns numbers
        in [0, 1)."""
        self._also, self._jitter = also, jitter
        self._may_be = asyncio.Event()

    def note(self, is_due: bool) -> None:
        """Ends the wait if there may be work."""
        if is_due or self._also():
            self._may_be.set()

    async def wait(self) -> None:
        """Returns when there may be work, and after SWEEP_SECONDS in any case."""
        with contextlib.suppress(TimeoutError):
            # Works that swept together would each use a connection to the database.
            async with asyncio.timeout(SWEEP_SECONDS * (1 - self._jitter() / 2)):
                await self._may_be.wait()
        self._may_be.clear()


def until_tick(seconds: float) -> float:
    """How long it is until the event loop's clock is the next multiple of `seconds`, or the one
    after it if the next is less than a twentieth of `seconds` away.

    Without that, a pause that ended a moment early would be followed by one of that moment. uvloop
    counts milliseconds, and a multiple of 0.2 is not exact.
    """
    if seconds <= 0:
        return 0.0
    left_seconds = seconds - asyncio.get_running_loop().time() % seconds
    return left_seconds if left_seconds >= seconds / 20 else left_seconds + seconds


async def pause(seconds: float) -> None:
    """Sleeps until a multiple of `seconds` on the event loop's clock, as `until_tick` has it."""
    await asyncio.sleep(until_tick(seconds))


async def keep_running(
    work: str,
    *rounds: Callable[[], Awaitable[None]],
    interval_seconds: float = INTERVAL_SECONDS,
    due: Due | None = None,
) -> None:
    """Runs each of `rounds` now, and again after every pause of `interval_seconds`, or whenever
    it is `due`, until cancelled. One that fails is logged with the name of the `work`, and delays
    no other. For example:

        runtime.run_in_background(partial(keep_running, "sagas", sagas.run_once), "sagas")
    """
    while True:
        for run_once in rounds:
            try:
                await run_once()
            except MeshError as error:
                log.warning("fail_round", work=work, reason=error.reason)
            except Exception as error:
                log.error("fail_round", work=work, exc_info=error)
        await (pause(interval_seconds) if due is None else due.wait())
