"""The limit of open files of a process.

Each connection is a file. Most systems start a process with a soft limit of 1,024, which idle
connections of one stranger would use up; then the process could neither call others nor read its
keys.
"""

import resource

import structlog

WANTED_FILES = 65_536
OTHER_FILES = 256
"""Open files beside the connections of clients: the mesh's own, logs, certificates."""
FEWEST_CONNECTIONS = 16

log = structlog.get_logger()


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


def connections_allowed(max_connections: int) -> int:
    """Raises the limit of open files as far as it is needed and allowed. Returns
    `max_connections`, or what the limit leaves for connections; then it logs the limit that would
    be enough. Idempotent."""
    needed = max_connections + OTHER_FILES
    limit = raise_limit(needed)
    if limit >= needed:
        return max_connections
    allowed = max(FEWEST_CONNECTIONS, limit - OTHER_FILES)
    log.warning("limit_connections", connections=allowed, open_files=limit, needed=needed)
    return allowed
