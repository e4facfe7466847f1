"""Named points at which a test may end, stop or fail a process.

What has to survive such things takes a `Reach` in its constructor and calls it with the
name of each point that it passes, in whatever thread it is there. A process as people
run it is never harmed there.
"""

from collections.abc import Callable

Reach = Callable[[str], None]
"""Called with the name of a point, such as "coordinator.before_decision". What it raises is
raised there."""


def unharmed(point: str) -> None:
    """Passes every point."""
