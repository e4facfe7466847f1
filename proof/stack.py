"""Starts whole meshes with the real local runner.

Each has its own folder and free ports, so it can run beside a `make up`. All its processes end
when the process that started it ends, even by SIGKILL.
"""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local import mesh_file
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.mesh_file import Process
from deploy.local.parent_bound import bound_to_parent
from deploy.local.servers.postgres import SUPERUSER
from mesh.identity.keys import load_private_key
from mesh.tls.material import TlsFiles
from proof.leaks import find_leaks

STOP_TIMEOUT_SECONDS = 20.0
MESH_START_TIMEOUT_SECONDS = 110.0
MESH_STOP_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.05
RUNNER = ("-m", "deploy.gachactl", "up")


class MeshNotUp(AssertionError):
    """A mesh did not start; the message has the output of its runner."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The code that a mesh runs, and a Python that has the packages for it: this project's own,
    unless others are given."""

    folder: Path = REPOSITORY
    python: str = sys.executable


OURS = Checkout()


class Mesh:
    """A whole mesh of the embedded profile, run by the real runner, made by `start_mesh`.

    Its processes are read from mesh.json each time, because they change with every restart.
    """

    def __init__(
        self,
        layout: Layout,
        output: Path,
        runner: Sequence[str] = RUNNER,
        environment: Mapping[str, str] = MappingProxyType({}),
        checkout: Checkout = OURS,
    ) -> None:
        """`runner` are the arguments to Python before --folder and --port. `environment` is added
        to the tests' environment."""
        self.layout = layout
        self._checkout = checkout
        self._environment = {**os.environ, **environment}
        self.output = output
        self._arguments = runner
        self._runner = self._launch()

    @property
    def runner_pid(self) -> int:
        return self._runner.pid

    @property
    def gateway(self) -> str:
        """The base URL of REST, without a trailing slash."""
        return self.read()["gateway"]

    @property
    def ca_file(self) -> str | None:
        """The file of the CA of the gateways' certificates; None for plain HTTP."""
        tls = self.read()["tls"]
        return None if tls is None else tls["ca"]

    @property
    def trust(self) -> ssl.SSLContext | None:
        """Verifies the gateways' certificates; None for plain HTTP."""
        ca_file = self.ca_file
        return None if ca_file is None else ssl.create_default_context(cafile=ca_file)

    @property
    def operator_files(self) -> TlsFiles | None:
        """The files of the operator's certificate; None without TLS."""
        tls = self.read()["tls"]
        return None if tls is None else TlsFiles.in_directory(Path(tls["operator"]))

    @property
    def registry(self) -> str:
        """The host:port of the first registry."""
        return self.read()["registries"][0]

    def player_key(self) -> Ed25519PrivateKey:
        """The oldest signing key of players' tokens."""
        oldest = min(self.layout.signing_keys.glob("*.pem"))
        return load_private_key(oldest.read_bytes())

    def database_url(self, database: str) -> str:
        """The postgresql:// URL as the service connects; `database` is account or gacha."""
        return self.read()["databases"][database]

    def reader_url(self, database: str) -> str:
        """The same as the role that only reads."""
        return self.read()["readers"][database]

    def superuser_url(self, database: str) -> str:
        """The same as the superuser, for whoever harms the mesh or makes a state that no service
        could."""
        password = (self.layout.secrets / "postgres_password").read_text().strip()
        of_service = urlsplit(self.database_url(database))
        server = f"{of_service.hostname}:{of_service.port}"
        return f"postgresql://{SUPERUSER}:{password}@{server}/{database}"

    def processes(self, role: str) -> list[Process]:
        """The processes of one role, in the order of their names."""
        return [each for each in self.read()["processes"] if each["role"] == role]

    def read(self) -> mesh_file.Mesh:
        mesh = mesh_file.read(self.layout.mesh)
        assert mesh is not None, f"the mesh is not up: {self.output.read_text()}"
        return mesh

    def wait_until_up(self) -> None:
        """Raises MeshNotUp when the runner ends or takes too long."""
        deadline = time.monotonic() + MESH_START_TIMEOUT_SECONDS
        while mesh_file.read(self.layout.mesh) is None:
            has_ended = self._runner.poll() is not None
            if has_ended or time.monotonic() > deadline:
                self.kill()
                raise MeshNotUp(f"The mesh did not come up:\n{self.output.read_text()}")
            time.sleep(POLL_SECONDS)

    def kill_process(self, name: str) -> None:
        """Sends SIGKILL; returns when the runner has restarted it, before it is ready."""
        pid = self._pid_of(name)
        assert pid is not None, f"{name} is not running"
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self._pid_of(name) in (pid, None):
            assert time.monotonic() < deadline, f"{name} was not started again"
            time.sleep(POLL_SECONDS)

    def _pid_of(self, name: str) -> int | None:
        return next(each["pid"] for each in self.read()["processes"] if each["name"] == name)

    def start_again(self) -> None:
        """Starts it again after `stop` or `kill`, with the same data."""
        self._runner = self._launch()
        self.wait_until_up()

    def stop(self) -> int:
        """Stops it like Ctrl-C, and returns the runner's status. Idempotent. Raises AssertionError
        if a log contains a player's secret."""
        if self._runner.poll() is None:
            self._runner.send_signal(signal.SIGINT)
        status = self._runner.wait(MESH_STOP_TIMEOUT_SECONDS)
        leaks = find_leaks(self.layout.logs)
        assert not leaks, f"secrets are in the logs of {self.layout.logs}: {leaks[:20]}"
        return status

    def kill(self) -> None:
        """Sends SIGKILL to the runner, which ends all other processes too."""
        self._runner.kill()
        self._runner.wait()

    def _launch(self) -> "subprocess.Popen[bytes]":
        command = [self._checkout.python, *self._arguments]
        command += ["--folder", str(self.layout.folder), "--port", "0"]
        # A killed runner leaves its mesh.json; it must not be taken for the new runner's.
        self.layout.mesh.unlink(missing_ok=True)
        with self.output.open("ab") as output:
            return subprocess.Popen(
                bound_to_parent(command, parent_death_signal=signal.SIGTERM),
                cwd=self._checkout.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


NO_RATE_LIMITS = MappingProxyType(
    {
        "GATEWAY_RATE_LIMITS": "off",
        "ACCOUNT_LOGIN_FREE_ATTEMPTS_OF_ADDRESS": "1000000",
        "GACHA_REFUSED_GIFTS_AN_HOUR": "1000000",
    }
)
"""Settings for more load than players make, from one address."""

BUSY_MACHINE = MappingProxyType({**NO_RATE_LIMITS, "ACCOUNT_HASHING_NICENESS": "0"})
"""The same for busy machines: password hashing does not wait for other programs."""


def start_mesh(
    folder: Path,
    runner: Sequence[str] = RUNNER,
    environment: Mapping[str, str] = MappingProxyType({}),
    checkout: Checkout = OURS,
) -> Mesh:
    """Starts a mesh on free ports with everything in `folder`, and waits until it is healthy, which
    takes several seconds. `environment` is added to the tests' environment.

    Call it from the main thread: the mesh is stopped when the thread that started it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder.with_name(f"{folder.name}.output")
    mesh = Mesh(Layout(folder.resolve()), output, runner, environment, checkout)
    mesh.wait_until_up()
    return mesh
