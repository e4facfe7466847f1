"""Chooses free ports on 127.0.0.1, and keeps them from run to run where possible.

They lie below the range that the kernel uses for outgoing connections. Otherwise a connection
could occupy an instance's port while the instance is being restarted.
"""

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from deploy.local.errors import LocalRunError

HOST = "127.0.0.1"
LOWEST, HIGHEST = 18_000, 32_000
RANGE_VARIABLE = "LOCAL_PORTS"
"""Narrows the range, as in LOCAL_PORTS=18000-25000. Runs that start at the same time need ranges
that do not overlap, because a chosen port stays free until its server listens."""
MAX_ATTEMPTS = 1_000
RELEASE_SECONDS = 3.0
"""How long to wait for a port that processes of a killed run may still hold."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as candidate:
        # As servers do: connections in TIME_WAIT do not make a port taken.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(randomness: random.Random) -> Iterator[int]:
    """Yields different free ports. Raises OSError when none is found, and ValueError when
    LOCAL_PORTS is not a range."""
    lowest, highest = _range()
    yielded: set[int] = set()
    while True:
        for _ in range(MAX_ATTEMPTS):
            port = randomness.randrange(lowest, highest)
            if port not in yielded and is_free(port):
                break
        else:
            raise OSError(f"no free port between {lowest} and {highest} on {HOST}")
        yielded.add(port)
        yield port


def _range() -> tuple[int, int]:
    text = os.environ.get(RANGE_VARIABLE) or f"{LOWEST}-{HIGHEST}"
    lowest, highest = (int(bound) for bound in text.split("-"))
    return lowest, highest


def assign(
    remembered_in: Path,
    names: Sequence[str],
    *,
    fixed: dict[str, int],
    randomness: random.Random,
    say: Callable[[str], None],
    release_seconds: float = RELEASE_SECONDS,
) -> dict[str, int]:
    """A port for each name: from `fixed`, else last run's if it is free, else a new one.

    The choice is stored in the file. Raises LocalRunError when a fixed port is taken or cannot
    be opened: people know fixed ports, so they must not change.
    """
    last = remembered(remembered_in)
    others = free_ports(randomness)
    taken_by_us = set(fixed.values())
    assigned: dict[str, int] = {}
    for name in names:
        port = fixed.get(name) or last.get(name)
        if name in fixed:
            _require_free(name, fixed[name], release_seconds, say)
        elif port is None or port in taken_by_us or not _becomes_free(port, release_seconds, say):
            if port is not None:
                say(f"Port {port} of {name} is taken by now; it gets another.")
            port = next(other for other in others if other not in taken_by_us)
        assert port is not None
        taken_by_us.add(port)
        assigned[name] = port
    kept = last | {name: port for name, port in assigned.items() if name not in fixed}
    draft = remembered_in.with_suffix(".new")
    draft.write_text(json.dumps(kept, indent=2) + "\n")
    draft.replace(remembered_in)
    return assigned


def _require_free(name: str, port: int, release_seconds: float, say: Callable[[str], None]) -> None:
    if port < 1024 and os.geteuid() != 0 and not is_free(port):
        raise LocalRunError(
            f"Port {port} for {name} may not be opened by an ordinary user, or is taken. "
            "Choose one above 1023, such as --port 9000 (make: PORT=9000)."
        )
    if not _becomes_free(port, release_seconds, say):
        raise LocalRunError(
            f"Port {port}, which {name} needs, is taken{_by_whom(port)}. Choose another, such as "
            "--port 9000 (make: PORT=9000), or 0 for any free one."
        )


def _becomes_free(port: int, release_seconds: float, say: Callable[[str], None]) -> bool:
    if is_free(port):
        return True
    say(f"Waiting up to {release_seconds:.0f} s: port {port} is taken.")
    deadline = time.monotonic() + release_seconds
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _by_whom(port: int) -> str:
    """Describes the process that holds the port, if this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if not connection.laddr or connection.laddr.port != port or not connection.pid:
                continue
            if connection.status == psutil.CONN_LISTEN:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""


def remembered(path: Path) -> dict[str, int]:
    """The ports that `assign` has stored, by name; empty if the file is missing or damaged."""
    try:
        stored = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {
        str(name): port
        for name, port in stored.items()
        if isinstance(port, int) and 0 < port < 65_536
    }
