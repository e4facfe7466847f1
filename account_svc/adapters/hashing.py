"""The program that hashes passwords, for one account_svc.

Usage: `python -m account_svc.adapters.hashing NICENESS`.

Argon2id (RFC 9106). Each line of standard input is a request in JSON, ["password"] to
hash it or ["password", "hash"] to verify it; each line of standard output the answer,
a text or a boolean. It ends when its input does, so that it never outlives the service.

It is a process, not a thread, for a thread of low priority that is interrupted while it
holds Python's interpreter lock would hold up the event loop beside it.
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
    # Who ends the service, by a key or by its group, leaves it to end this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_less_urgent(int(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
