"""Lowers the CPU priority of a process.

Linux with sched_autogroup schedules sessions against each other; `nice` then only ranks the
processes of one session. The process therefore starts its own session and lowers the
session's priority too.
"""

import os
from contextlib import suppress
from pathlib import Path

LEAST_URGENT = 19
BACKGROUND = 10
"""A nice value: a tenth of the CPU share of an ordinary process that competes for the core."""
SESSION = Path("/proc/self/autogroup")


def become_less_urgent(niceness: int) -> None:
    """Lowers the priority of the whole process, which must not be a process group leader.
    It cannot be undone."""
    with suppress(PermissionError):  # it leads its session already
        os.setsid()
    # The parent may already have set a lower priority: never raise it.
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError):  # no such grouping here
        SESSION.write_text(str(niceness))
