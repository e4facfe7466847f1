"""The mesh that is harmed: who is in it, and the means to harm it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from proof.faults.injection.armed_failpoints import FailpointControl
from proof.faults.injection.message_faults import MessageFaultFile
from proof.stack import BUSY_MACHINE, Mesh, start_mesh

RUNNER = ("-m", "proof.faults.processes.runner")
POLL_SECONDS = 0.05
BACK_SECONDS = 30.0


class Target:
    """A running mesh, its failpoints and its message faults."""

    def __init__(self, folder: Path, mutant: str = "") -> None:
        """Starts it, in `folder`. Call it from the main thread."""
        runner = [*RUNNER, "--mutant", mutant] if mutant else RUNNER
        self.mesh: Mesh = start_mesh(folder, runner, BUSY_MACHINE)
        self.failpoints = FailpointControl(folder / "faults")
        self.message_faults = MessageFaultFile(folder / "faults")

    def instances(self, *roles: str) -> list[str]:
        """The names of the roles' instances."""
        return [each["name"] for role in roles for each in self.mesh.processes(role)]

    def pid(self, name: str) -> int | None:
        """None while it is not running."""
        return next(
            (each["pid"] for each in self.mesh.read()["processes"] if each["name"] == name), None
        )

    def signal(self, name: str, how: signal.Signals) -> None:
        """To one process; nothing when it is not running."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)

    @contextlib.contextmanager
    def stalled(self, name: str) -> Iterator[None]:
        """The process stands still, or does so by itself, until the context ends."""
        try:
            yield
        finally:
            self.signal(name, signal.SIGCONT)

    def wait_until_back(self) -> None:
        """Returns when every process of the mesh runs; raises AssertionError when one does not."""
        deadline = time.monotonic() + BACK_SECONDS
        while any(each["pid"] is None for each in self.mesh.read()["processes"]):
            assert time.monotonic() < deadline, f"not all is back: {self.mesh.read()}"
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Everything goes on that stands still, and then ends in order."""
        for name in self.instances("account_svc", "gacha_svc"):
            self.signal(name, signal.SIGCONT)
        self.mesh.stop()
