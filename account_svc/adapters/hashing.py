"""The program that hashes passwords, for one account_svc.

Usage: `python -m account_svc.adapters.hashing NICENESS`.

Argon2id (RFC 9106). Each line of standard input is a JSON request: ["password"] hashes it,
["password", "hash"] verifies it. Each line of standard output is the answer, a string or a
boolean. The program exits at the end of its input, so it never outlives the service.

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
    """The hash of one password, or whether a hash is of it."""
    password, *hashes = request
    if not hashes:
        return hasher().hash(password)
    try:
        return hasher().verify(hashes[0], password)
    except (Argon2Error, InvalidHashError):
        return False


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
