"""Listening sockets that outlive the processes that serve on them.

The runner holds the socket and each process that is started gets it, so that while one is
replaced, however it ended, new connections wait in the kernel instead of being refused
(docs/adr/0024).
"""

import socket

LISTEN_FD = "MESH_LISTEN_FD"
"""The variable with the descriptor of a process's listening socket."""
BACKLOG_CONNECTIONS = 1024


def listen(address: str) -> socket.socket:
    """Listens on host:port, and shares it with nobody. Raises OSError."""
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    try:
        # Connections of an earlier run must not hold up this one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG_CONNECTIONS)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
