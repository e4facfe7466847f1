"""Log files that cannot fill a disk: the last run's is kept, and each has a bound."""

import asyncio
import os
import shutil
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024
CHECK_INTERVAL_SECONDS = 5.0


def begin_run(folder: Path, *, keep: str | None = None) -> None:
    """Sets each NAME.log of the last run aside as NAME.log.1, except the file named `keep`."""
    for log in folder.glob("*.log"):
        if log.name != keep:
            log.replace(log.with_name(f"{log.name}.1"))


def bound(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Copies each log above `max_bytes` to NAME.log.1 and empties it.

    Its writers go on undisturbed, for they append; lines written between the copy and
    the emptying are lost.
    """
    for log in folder.glob("*.log"):
        if log.stat().st_size > max_bytes:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


async def keep_bounded(folder: Path) -> None:
    while True:
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)
        await asyncio.to_thread(bound, folder)
