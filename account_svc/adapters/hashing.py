"""The program that hashes passwords, for one account_svc.

Usage: `python -m account_svc.adapters.hashing NICENESS PARENT_PID`.

Argon2id (RFC 9106). Each line of standard input is a JSON request, and each line of standard
output its answer:

    ["password"]          the hash, a string
    ["password", "hash"]  true if the hash is of the password, else false; a string if it is, but
                          has other parameters than new hashes: the hash to store in its place

The program never outlives the service. It exits at the end of its input. While it hashes or is
frozen it cannot read that, so the kernel kills it (PR_SET_PDEATHSIG, prctl(2)) when the thread that
started it has ended, for any reason.

It is a process and not a thread: a thread of low priority could be preempted while it holds
Python's interpreter lock, and would block the event loop.
"""

import ctypes
import json
import os
import signal
import sys

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from mesh.process.priority import become_less_urgent

MEMORY_KIB = 19_456
ROUNDS = 2
PR_SET_PDEATHSIG = 1


def hasher() -> PasswordHasher:
    """The parameters of every new hash."""
    return PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=1)


def answer(request: list[str]) -> str | bool:
    """The hash of one password, or whether a hash is of it; see the module."""
    password, *hashes = request
    if not hashes:
        return hasher().hash(password)
    try:
        hasher().verify(hashes[0], password)
    except (Argon2Error, InvalidHashError):
        return False
    return hasher().hash(password) if hasher().check_needs_rehash(hashes[0]) else True


def end_with(parent_pid: int) -> None:
    """From now on this process ends with its parent. Exits at once if that has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("The service that started this process has ended.")


def main() -> None:
    end_with(int(sys.argv[2]))
    # Ctrl-C reaches the whole process group; the service stops this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_less_urgent(int(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
