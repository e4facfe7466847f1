"""The limit of open files of a process.

Each connection is a file. Most systems start a process with a soft limit of 1,024, which idle
connections of one stranger would use up; then the process could neither call others nor read its
keys.
"""

import resource

WANTED_FILES = 65_536


def raise_limit(wanted: int = WANTED_FILES) -> int:
    """Raises the soft limit (RLIMIT_NOFILE) to `wanted`, as far as the hard limit allows. Never
    lowers it. Returns the limit now. Idempotent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if raised <= soft:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised
