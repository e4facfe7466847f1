"""The program that hashes passwords, for one account_svc.

Usage: `python -m account_svc.adapters.hashing NICENESS`.

Argon2id (RFC 9106). Each line of standard input is a JSON request, and each line of standard
output its answer:

    ["password"]          the hash, a string
    ["password", "hash"]  true if the hash is of the password, else false; a string if it is, but
                          has other parameters than new hashes: the hash to store in its place

The program exits at the end of its input, so it never outlives the service.

It is a process and not a thread: a thread of low priority could be preempted while it holds
Python's interpreter lock, and would block the event loop.
"""

import json
import signal
import sys

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from mesh.process.priority import become_less_urgent

MEMORY_KIB = 19_456
ROUNDS = 2


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


def main() -> None:
    # Ctrl-C reaches the whole process group; the service stops this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_less_urgent(int(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
