"""Runs a mesh in the background: starts it, waits until it is ready, and returns."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.run import RUNNER_LOG

READY = b"ready"
POLL_SECONDS = 0.1


def start(layout: Layout, options: Sequence[str]) -> int:
    """Starts `gachactl up` with these options. Returns 0 when the mesh is ready, and the
    runner's exit status when it failed.

    The runner's messages go to its log, and to stderr until then.
    """
    layout.make_folders()
    log = layout.logs / RUNNER_LOG
    if log.exists():
        log.replace(log.with_name(f"{RUNNER_LOG}.1"))
    readable, writable = os.pipe()
    with log.open("ab") as output:
        runner = subprocess.Popen(
            [
                *(sys.executable, "-m", "deploy.gachactl", "up"),
                *("--folder", str(layout.folder), *options),
                *("--ready-fd", str(writable)),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[writable],
        )
    os.close(writable)
    try:
        is_ready = _follow(log, readable)
    except KeyboardInterrupt:
        runner.send_signal(signal.SIGTERM)
        return runner.wait() or 130
    finally:
        os.close(readable)
    return 0 if is_ready else runner.wait() or 1


def report_ready(descriptor: int) -> None:
    """Tells the starting process that the mesh is ready. That process may be gone already."""
    with contextlib.suppress(OSError):
        os.write(descriptor, READY)
        os.close(descriptor)


def _follow(log: Path, readable: int) -> bool:
    """Copies the log to stderr until the runner reports that it is ready, or ends."""
    with log.open(errors="replace") as lines:
        while True:
            reported, _, _ = select.select([readable], [], [], POLL_SECONDS)
            sys.stderr.write(lines.read())
            sys.stderr.flush()
            if reported:
                return os.read(readable, len(READY)) == READY
