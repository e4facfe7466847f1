"""`mesh.json`: the running processes, for tools. Exists while the mesh is up; written atomically.

    {"gateway": "http://127.0.0.1:8080", "registries": ["host:port", ...],
     "databases": {"account": URL, "gacha": URL}, "readers": {"account": URL, "gacha": URL},
     "tls": {"ca": FILE, "operator": FOLDER} or null,
     "processes": [{"name", "role", "pid", "address", "metrics"}, ...]}

The URLs hold passwords, so only the file's owner may read it. A pid is null
while a process that died is not yet running again.
"""

import json
from pathlib import Path
from typing import TypedDict

from mesh.private_files import replace_file


class Process(TypedDict):
    """`role` is account_svc, gacha_svc, registry, gateway_http, payment_sandbox, postgres,
    cache or etcd.

    `metrics` is the host:port of its `/metrics`; null for none."""

    name: str
    role: str
    pid: int | None
    address: str
    metrics: str | None


class Tls(TypedDict):
    """`ca` is the file of the CA that issues all certificates. `operator` is the folder of the
    operator's certificate, with tls.crt, tls.key and ca.crt."""

    ca: str
    operator: str


class Mesh(TypedDict):
    """`databases` are postgresql:// URLs by database name, as the services connect; `readers` are
    those of the roles that only read, for ETL and support. `tls` is null for a mesh without TLS."""

    gateway: str
    registries: list[str]
    databases: dict[str, str]
    readers: dict[str, str]
    tls: Tls | None
    processes: list[Process]


def write(path: Path, mesh: Mesh) -> None:
    """Replaces the file atomically."""
    replace_file(path, json.dumps(mesh, indent=2).encode() + b"\n")


def read(path: Path) -> Mesh | None:
    """Returns None while no mesh is up. Raises ValueError if the file is malformed."""
    try:
        mesh: Mesh = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return mesh


def profile_name(mesh: Mesh) -> str:
    """The profile by which the mesh was started."""
    return "ha" if "etcd" in [each["role"] for each in mesh["processes"]] else "embedded"


def gateway_port(mesh: Mesh) -> int:
    """The port of the first gateway."""
    return int(mesh["gateway"].rpartition(":")[2])


def start_options(mesh: Mesh) -> list[str]:
    """The options of `gachactl up` that start such a mesh again."""
    gateway_count = [each["role"] for each in mesh["processes"]].count("gateway_http")
    options = ["--port", str(gateway_port(mesh)), "--gateways", str(gateway_count)]
    options += ["--profile", profile_name(mesh)]
    return [*options, *([] if mesh["tls"] is None else ["--tls"])]
