"""A run in the background: started, watched until it is ready, and left alone."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.run import RUNNER_LOG

READY = b"ready"
POLL_SECONDS = 0.1


def start(layout: Layout, gateway_port: int, gateway_count: int, profile: str, tls: bool) -> int:
    """Returns 0 when the mesh is ready, and the runner's status when it could not get there.

    What the runner says goes to its log, and to the terminal until then.
    """
    layout.make_folders()
    log = layout.logs / RUNNER_LOG
    if log.exists():
        log.replace(log.with_name(f"{RUNNER_LOG}.1"))
    readable, writable = os.pipe()
    with log.open("ab") as output:
        runner = subprocess.Popen(
            [
                *(sys.executable, "-m", "deploy.local", "up"),
                *("--folder", str(layout.folder), "--port", str(gateway_port)),
                *("--gateways", str(gateway_count), "--profile", profile),
                *(("--tls",) if tls else ()),
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


def tell_ready(descriptor: int) -> None:
    """Called by the runner. Whoever started it may be gone by then."""
    with contextlib.suppress(OSError):
        os.write(descriptor, READY)
        os.close(descriptor)


def _follow(log: Path, readable: int) -> bool:
    """Copies the log to the terminal until the runner says that it is ready, or ends."""
    with log.open(errors="replace") as lines:
        while True:
            told, _, _ = select.select([readable], [], [], POLL_SECONDS)
            sys.stdout.write(lines.read())
            sys.stdout.flush()
            if told:
                return os.read(readable, len(READY)) == READY
