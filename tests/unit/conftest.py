"""Unit tests start no process: what they test runs in this one, behind loopback sockets at most."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_process_is_started() -> Iterator[None]:
    """Fails a test that starts a process, whether it still runs or was waited for."""
    before = _children()
    yield
    assert _children() == before, "a unit test starts no process; its place is tests/process"


def _children() -> tuple[set[str], int]:
    """The children of this process, and the page faults of those that were waited for."""
    running: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        running.update(task.read_text().split())
    return running, resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
