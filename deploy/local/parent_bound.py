"""Command lines of processes that end when their parent ends."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PARENT_DEATH = Path(__file__).parent / "supervision" / "parent_death.py"


def bound_to_parent(
    command: Sequence[str | Path],
    *,
    parent_death_signal: signal.Signals = signal.SIGKILL,
    user: str = "self",
) -> list[str]:
    """The command line that runs `command` until this process ends.

    `user` is what parent_death.py takes.
    """
    return [
        sys.executable,
        "-I",
        "-S",
        str(PARENT_DEATH),
        str(os.getpid()),
        str(int(parent_death_signal)),
        user,
        *(str(part) for part in command),
    ]
