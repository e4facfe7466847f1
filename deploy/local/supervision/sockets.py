"""Listening sockets that outlive the serving processes.

The runner holds the socket and hands it to each process that it starts. So while a process is
replaced, new connections wait in the kernel and are not refused (docs/adr/0024).
"""

import socket

LISTEN_FD = "MESH_LISTEN_FD"
"""The variable that has the file descriptor of a process's listening socket."""
BACKLOG_CONNECTIONS = 1024


def listen(address: str) -> socket.socket:
    """Listens on host:port without SO_REUSEPORT. Raises OSError."""
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    try:
        # Connections of an earlier run must not block this one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG_CONNECTIONS)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
