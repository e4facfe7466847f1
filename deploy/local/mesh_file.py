"""`mesh.json`: what runs where, for tools. Present while the mesh is up, and always whole.

    {"gateway": "http://127.0.0.1:8080", "registries": ["host:port", ...],
     "databases": {"account": URL, "gacha": URL},
     "tls": {"ca": FILE, "operator": FOLDER} or null,
     "processes": [{"name", "role", "pid", "address", "metrics"}, ...]}

The URLs hold a password, so that only the file's owner may read it. A pid is null
until a process that died runs again.
"""

import json
import os
from pathlib import Path
from typing import TypedDict


class Process(TypedDict):
    """`role` is account_svc, gacha_svc, registry, gateway_http, payment_sandbox, postgres,
    cache or etcd.

    `metrics` is the host:port where it shows what it counts (`/metrics`), null for none."""

    name: str
    role: str
    pid: int | None
    address: str
    metrics: str | None


class Tls(TypedDict):
    """`ca` is the file of the CA that all certificates are of; `operator` the folder of a
    certificate that the mesh lets in, with tls.crt, tls.key and ca.crt."""

    ca: str
    operator: str


class Mesh(TypedDict):
    """`databases` are postgresql:// URLs as psql takes them, by the name of the database;
    `tls` is null for a mesh that speaks plain text."""

    gateway: str
    registries: list[str]
    databases: dict[str, str]
    tls: Tls | None
    processes: list[Process]


def write(path: Path, mesh: Mesh) -> None:
    """Replaces the file in one step."""
    draft = path.with_suffix(".json.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(mesh, file, indent=2)
        file.write("\n")
    draft.replace(path)


def read(path: Path) -> Mesh | None:
    """None while no mesh is up. Raises ValueError when the file is not what `write` wrote."""
    try:
        mesh: Mesh = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return mesh
