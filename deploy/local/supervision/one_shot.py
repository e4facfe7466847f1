"""Commands of a service that run to their end before the services start."""

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.supervision import processes
from deploy.local.supervision.processes import ProcessSpec, Spawn


async def _never() -> bool:
    """A one-shot command never becomes ready: it ends."""
    return False


async def run(
    name: str,
    command: list[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    timeout_seconds: float,
    program: Sequence[str] = (),
    spawn: Spawn = processes.spawn,
) -> None:
    """Runs the command. Raises LocalRunError, with what it wrote or the end of its log, unless it
    exits with 0."""
    spec = ProcessSpec(
        name, name, "", command, environment, folder, log, make_ready=_never, program=program
    )
    began_at = processes.size(log)
    process = await spawn(spec, None)
    try:
        async with asyncio.timeout(timeout_seconds):
            status = await process.wait()
    except TimeoutError:
        raise LocalRunError(
            f"{name} did not end within {timeout_seconds:.0f} s. Its log: {log}"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    if status == os.EX_CONFIG:
        raise LocalRunError(f"{name} does not start. {processes.lines_since(log, began_at)}")
    if status != 0:
        raise LocalRunError(
            f"{name} {processes.in_words(status)}. The end of its log, {log}:\n"
            f"{processes.last_lines(log)}"
        )
