"""Unit tests start no process: all code under test runs in this one, with loopback sockets."""

import platform
import sys
from collections.abc import Iterator

import pytest

STARTS_A_PROCESS = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
)
"""Audit events (PEP 578) of everything in Python that starts one."""

_started: list[str] = []


def _note(event: str, _arguments: tuple[object, ...]) -> None:
    if event in STARTS_A_PROCESS:
        _started.append(event)


# Runs `uname -p`, once for the process; the package of Stripe needs it.
platform.processor()
# Once for the process: an audit hook cannot be removed.
sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def no_process_is_started() -> Iterator[None]:
    """Fails a test that starts a process, whether it still runs or was waited for."""
    _started.clear()
    yield
    assert not _started, "a unit test starts no process; its place is tests/process"
