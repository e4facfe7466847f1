"""Bounds log files in size, and keeps those of the last run."""

import asyncio
import os
import shutil
from pathlib import Path

from deploy.local.supervision.processes import Say

MAX_BYTES = 32 * 1024 * 1024
CHECK_INTERVAL_SECONDS = 5.0


def begin_run(folder: Path, *, keep: str | None = None) -> None:
    """Renames each NAME.log of the last run to NAME.log.1, except the file named `keep`."""
    for log in folder.glob("*.log"):
        if log.name != keep:
            log.replace(log.with_name(f"{log.name}.1"))


def bound(folder: Path, say: Say, max_bytes: int = MAX_BYTES) -> None:
    """Copies each log above `max_bytes` to NAME.log.1 and empties it.

    Writers are not disturbed, because they append. Lines written between the copy and the
    truncation are lost. A log that cannot be copied, as on a full disk, is emptied all the
    same: otherwise it would fill the disk for good.
    """
    for log in folder.glob("*.log"):
        if log.stat().st_size > max_bytes:
            copy = log.with_name(f"{log.name}.1")
            try:
                shutil.copyfile(log, copy)
            except OSError as error:
                copy.unlink(missing_ok=True)
                say(f"{log} is emptied without a copy: {error.strerror}.")
            os.truncate(log, 0)


async def keep_bounded(folder: Path, say: Say) -> None:
    """Bounds the logs every few seconds, for ever."""
    while True:
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)
        await asyncio.to_thread(bound, folder, say)
