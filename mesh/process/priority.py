"""Lets a process have a core only when nothing else wants it.

The urgency of a process (`nice`) counts among those of its session alone where the kernel
groups processes by session (Linux, sched_autogroup); so the process takes a session of
its own, whose urgency is set too.
"""

import os
from contextlib import suppress
from pathlib import Path

LEAST_URGENT = 19
BACKGROUND = 10
"""As nice has it: a tenth of what an ordinary process gets where both want a core."""
SESSION = Path("/proc/self/autogroup")


def become_less_urgent(niceness: int) -> None:
    """For the whole process, which must not lead a group of processes; it cannot be undone."""
    with suppress(PermissionError):  # it leads its session already
        os.setsid()
    # Whoever started it may have made it less urgent than this already.
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError):  # no such grouping here
        SESSION.write_text(str(niceness))
