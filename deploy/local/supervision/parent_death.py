"""Replaces itself with a command that cannot outlive its parent.

    python -I -S parent_death.py PARENT_PID SIGNAL USER COMMAND [ARGUMENT ...]

The kernel sends SIGNAL (a number) to the command when its parent dies, for any reason. USER is
`self`, `map:UID:GID` (the caller becomes that user inside a user namespace, and keeps its own
user outside) or `drop:UID:GID`. The command replaces this program, so it keeps the pid that the
parent knows.

The order matters. A change of credentials clears the parent-death signal, so the signal is set
last. A parent that died before that is detected with getppid(). Strictly, the kernel watches the
*thread* that forked: fork from a thread that lives as long as the process. The script imports
nothing of this project, because every start of a process waits for it.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOT_STARTED = 126
"""Exit status when the command could not be started; stderr says why."""


def become_user(user: str) -> None:
    """Raises OSError when the kernel does not allow it."""
    kind, _, ids = user.partition(":")
    if kind == "self":
        return
    uid, gid = (int(number) for number in ids.split(":"))
    if kind == "map":
        _map_user(uid, gid)
    else:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _map_user(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def die_with_parent(parent_pid: int, signal_number: int) -> None:
    """Exits at once when the parent has died already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        raise SystemExit(NOT_STARTED)


def main(arguments: list[str]) -> None:
    parent_pid, signal_number, user, *command = arguments
    try:
        become_user(user)
        die_with_parent(int(parent_pid), int(signal_number))
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} could not be started as {user}: {error}\n")
        raise SystemExit(NOT_STARTED) from error


if __name__ == "__main__":
    main(sys.argv[1:])
