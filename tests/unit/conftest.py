"""Unit tests start no process: all code under test runs in this one, with loopback sockets."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_process_is_started() -> Iterator[None]:
    """Fails a test that starts a process, even if the process has already ended."""
    before = _children()
    yield
    assert _children() == before, "a unit test starts no process; its place is tests/process"


def _children() -> tuple[set[str], int]:
    """The children of this process, and the page faults of those that have ended."""
    running: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        running.update(task.read_text().split())
    return running, resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
