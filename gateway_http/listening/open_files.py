"""How many connections the process's limit of open files allows."""

import resource

import structlog

OTHER_FILES = 256
"""Open files beside the connections: the mesh's own connections, logs, certificates."""
FEWEST_CONNECTIONS = 16

log = structlog.get_logger()


def connections_allowed(max_connections: int) -> int:
    """Raises the soft limit of open files (RLIMIT_NOFILE) as far as it is needed and the hard
    limit allows. Returns `max_connections`, or what the limit leaves for connections; then it
    logs the limit that would be enough. Idempotent."""
    needed = max_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return max_connections
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if raised > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft >= needed:
        return max_connections
    allowed = max(FEWEST_CONNECTIONS, soft - OTHER_FILES)
    log.warning("limit_connections", connections=allowed, open_files=soft, needed=needed)
    return allowed
