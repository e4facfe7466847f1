"""How many connections the process's limit of open files allows."""

import structlog

from mesh.process.open_files import raise_limit

OTHER_FILES = 256
"""Open files beside the connections: the mesh's own connections, logs, certificates."""
FEWEST_CONNECTIONS = 16

log = structlog.get_logger()


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
