"""Work that an instance repeats for as long as it lives, such as recovery and retention."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mesh.errors import MeshError

INTERVAL_SECONDS = 1.0

log = structlog.get_logger()


async def keep_running(
    work: str,
    *rounds: Callable[[], Awaitable[None]],
    interval_seconds: float = INTERVAL_SECONDS,
) -> None:
    """Runs each of `rounds` now, and again after every pause of `interval_seconds`, until
    cancelled. One that fails is logged with the name of the `work`, and delays no other. For
    example:

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
        await asyncio.sleep(interval_seconds)
