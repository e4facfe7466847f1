"""The mesh under fault: its instances, its failpoints and its message faults."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from proof.faults.injection.armed_failpoints import FailpointControl
from proof.faults.injection.message_faults import MessageFaultFile
from proof.limited_catalog import CATALOG_SETTING, write_limited_catalog
from proof.stack import BUSY_MACHINE, Mesh, start_mesh

RUNNER = ("-m", "proof.faults.processes.runner")
PULL_LIMIT = 23
"""Of the limited banner: a third ten-pull does not fit, and single pulls do."""
POLL_SECONDS = 0.05
BACK_SECONDS = 30.0


class Target:
    """A running mesh, its failpoints and its message faults."""

    def __init__(self, folder: Path, mutant: str = "") -> None:
        """Starts the mesh in `folder`. Call it from the main thread."""
        runner = [*RUNNER, "--mutant", mutant] if mutant else RUNNER
        catalog = write_limited_catalog(folder.with_suffix(".catalog.yaml"), PULL_LIMIT)
        environment = {**BUSY_MACHINE, CATALOG_SETTING: str(catalog)}
        self.mesh: Mesh = start_mesh(folder, runner, environment)
        self.failpoints = FailpointControl(folder / "faults")
        self.message_faults = MessageFaultFile(folder / "faults")

    def instances(self, *roles: str) -> list[str]:
        """The names of the instances of these roles."""
        return [each["name"] for role in roles for each in self.mesh.processes(role)]

    def pid(self, name: str) -> int | None:
        """The pid of an instance; None while it is not running."""
        return next(
            (each["pid"] for each in self.mesh.read()["processes"] if each["name"] == name), None
        )

    def signal(self, name: str, how: signal.Signals) -> None:
        """Sends a signal to one process; does nothing if it is not running."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)

    @contextlib.contextmanager
    def stalled(self, name: str) -> Iterator[None]:
        """The process is stopped, or stops itself, until the context ends."""
        try:
            yield
        finally:
            self.signal(name, signal.SIGCONT)

    def wait_until_back(self) -> None:
        """Waits until every process of the mesh runs. Raises AssertionError if one does not."""
        deadline = time.monotonic() + BACK_SECONDS
        while any(each["pid"] is None for each in self.mesh.read()["processes"]):
            assert time.monotonic() < deadline, f"not all is back: {self.mesh.read()}"
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Continues all stopped processes, and then stops the mesh in order."""
        for name in self.instances("account_svc", "gacha_svc"):
            self.signal(name, signal.SIGCONT)
        self.mesh.stop()
