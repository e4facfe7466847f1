"""Failpoints: named points at which a test may kill, freeze or fail a process.

Code that must survive such faults takes a `Failpoint` in its constructor and calls it with
the name of each point that it passes, in whichever thread it runs. In production the
failpoint is `no_failpoint`.
"""

from collections.abc import Callable

Failpoint = Callable[[str], None]
"""Called with the name of a point, such as "coordinator.before_decision". An exception that
it raises is raised at that point."""


def no_failpoint(point: str) -> None:
    """Does nothing at any point."""
