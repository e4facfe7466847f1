"""Chooses the user that PostgreSQL runs as, because it refuses to run as root.

An ordinary user runs it as itself. Root first maps itself to another user in its own user
namespace. Outside the namespace it is still root, so folders that only root may enter stay
accessible. If the kernel forbids that, root drops to an unprivileged user, who must be able to
reach the binaries and the data.
"""

import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent

PROBE_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServerUser:
    """`argument` is what parent_death.py takes; `owner_uid` owns the files outside."""

    argument: str
    owner_uid: int
    owner_gid: int


def probe(user: ServerUser, command: Sequence[str | Path]) -> bool:
    """Whether `command` succeeds as that user. The command must end by itself."""
    result = subprocess.run(
        bound_to_parent(command, user=user.argument),
        cwd="/",
        capture_output=True,
        timeout=PROBE_TIMEOUT_SECONDS,
        check=False,
    )
    return result.returncode == 0


def choose(checkout: Path, works: Callable[[ServerUser], bool]) -> ServerUser:
    """The first user that this process can choose and for whom `works` is true.

    Raises LocalRunError, with the remedy, when there is none.
    """
    uid, gid = os.geteuid(), os.getegid()
    for user in _candidates(uid, gid, checkout):
        if works(user):
            return user
    raise LocalRunError(
        "PostgreSQL refuses to run as root, the kernel does not let root map itself to "
        "another user, and no unprivileged user can reach this checkout and its "
        "environment. Run as an ordinary user, or move the checkout to a folder that "
        "everyone may enter (for example /srv or /opt)."
        if uid == 0
        else f"User {uid} has no entry in /etc/passwd, which initdb needs, and may not map "
        "itself to a user who has one. Run as a user with an entry."
    )


def _candidates(uid: int, gid: int, checkout: Path) -> list[ServerUser]:
    own = ServerUser("self", uid, gid)
    if uid != 0 and _is_named(uid):
        return [own]
    # The user must have a name, because initdb looks it up.
    others = sorted(
        (entry for entry in pwd.getpwall() if entry.pw_uid != 0),
        key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid),
    )[:1]
    mapped = [ServerUser(f"map:{other.pw_uid}:{other.pw_gid}", uid, gid) for other in others]
    if uid != 0:
        return mapped
    # Under sudo, perhaps only the checkout's owner can enter its folders.
    owner = checkout.stat()
    unprivileged = [(other.pw_uid, other.pw_gid) for other in others]
    if owner.st_uid != 0 and _is_named(owner.st_uid):
        unprivileged.insert(0, (owner.st_uid, owner.st_gid))
    return mapped + [ServerUser(f"drop:{u}:{g}", u, g) for u, g in unprivileged]


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
