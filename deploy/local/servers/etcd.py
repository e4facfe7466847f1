"""The members of one etcd cluster, through which registries share their leases.

The binary is the one that the machine has. The data may be lost: `prepare` deletes it if the
members' addresses have changed.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent
from deploy.local.servers.ports import HOST
from mesh.tls.material import TlsFiles

HEARTBEAT_MS, ELECTION_MS = 50, 500
"""Elects a new leader within a second, on machines of one network."""
BCRYPT_COST = 4
"""The least that etcd takes: its users' passwords are random and long, so that a slow hash would
protect nothing, and every registry waits for it after a member's restart."""
COMPACTION_RETENTION = "10m"
"""How long changes are kept for watches that resume from a revision."""
VERSION_TIMEOUT_SECONDS = 10.0
INSTALL = "Install it (on Debian and Ubuntu: apt install etcd-server) and try again."
_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")


def binary() -> Path:
    """The path of etcd. Raises LocalRunError if it is missing, or may lose data on SIGKILL."""
    found = shutil.which("etcd")
    if found is None:
        raise LocalRunError(f"etcd, which the ha profile needs, was not found on PATH. {INSTALL}")
    path = Path(found)
    version = _version(path)
    if not _is_fit(version):
        words = ".".join(map(str, version)) if version else "of an unknown version"
        raise LocalRunError(
            f"{path} is {words}; the ha profile needs etcd 3.4.22 or later of 3.4, 3.5.6 or "
            f"later of 3.5, or 3.6. {INSTALL}"
        )
    return path


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        said = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_SECONDS,
            check=False,
            env=environment(),
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = _VERSION.search(said)
    return (int(numbers[1]), int(numbers[2]), int(numbers[3])) if numbers else None


def _is_fit(version: tuple[int, int, int] | None) -> bool:
    """Earlier releases of 3.5 lost acknowledged writes when they were killed."""
    if version is None or version < (3, 4, 22):
        return False
    return version[:2] != (3, 5) or version >= (3, 5, 6)


def environment() -> dict[str, str]:
    """This process's environment without etcd's variables. etcd refuses a variable that repeats
    a flag, and the others would change its configuration."""
    return {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith("ETCD_") or variable == "ETCD_UNSUPPORTED_ARCH"
    }


@dataclass(frozen=True, slots=True)
class Cluster:
    """`folder` holds the data of all members. Ports are by the members' names. `program` is as
    `binary` found it; None where there are no members."""

    folder: Path
    program: Path | None
    client_ports: Mapping[str, int]
    peer_ports: Mapping[str, int]
    tls: Mapping[str, TlsFiles] = field(default_factory=dict)
    """The certificates by the members' names; without them connections are plain text."""
    is_durable: bool = True
    """False skips fsync, for tests only."""

    @property
    def names(self) -> list[str]:
        return list(self.client_ports)

    def address(self, name: str) -> str:
        """The client address of a member: host:port."""
        return f"{HOST}:{self.client_ports[name]}"

    def data(self, name: str) -> Path:
        return self.folder / name

    def prepare(self) -> None:
        """Deletes data that names other ports. Call it before the first member starts.
        Idempotent; does nothing without members."""
        if not self.names:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remembered = self.folder / "peers.json"
        peers = json.dumps({name: self._peer_url(name) for name in self.names})
        if remembered.exists() and remembered.read_text() == peers:
            return
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        remembered.write_text(peers)

    def command(self, name: str) -> list[str]:
        """The command of a member: in the foreground, until this process ends."""
        assert self.program is not None, "a cluster with members has a program"
        client, peer = f"{self._scheme}://{self.address(name)}", self._peer_url(name)
        members = ",".join(f"{each}={self._peer_url(each)}" for each in self.names)
        settings = {
            "name": name,
            "data-dir": self.data(name),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": members,
            "initial-cluster-token": "gacha-mesh",
            "heartbeat-interval": HEARTBEAT_MS,
            "election-timeout": ELECTION_MS,
            "auto-compaction-mode": "periodic",
            "auto-compaction-retention": COMPACTION_RETENTION,
            "logger": "zap",
            "log-level": "warn",
            "bcrypt-cost": BCRYPT_COST,
            **self._tls_settings(name),
        }
        if not self.is_durable:
            settings["unsafe-no-fsync"] = "true"
        return bound_to_parent(
            [self.program, *(f"--{key}={value}" for key, value in settings.items())]
        )

    def _tls_settings(self, name: str) -> dict[str, object]:
        """Clients show no certificate, but a password: a registry's connection outlives its
        certificate. etcd reads the files at each handshake."""
        files = self.tls.get(name)
        if files is None:
            return {}
        return {
            "cert-file": files.certificate,
            "key-file": files.key,
            "peer-cert-file": files.certificate,
            "peer-key-file": files.key,
            "peer-trusted-ca-file": files.ca,
            "peer-client-cert-auth": "true",
        }

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    def _peer_url(self, name: str) -> str:
        return f"{self._scheme}://{HOST}:{self.peer_ports[name]}"
