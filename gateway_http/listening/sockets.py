"""The listening socket of the gateway: its own, or an inherited one.

It is bound without SO_REUSEPORT, so a taken port is an error. With it, a second server would
silently take half of the connections. Port 0 chooses a free port.
"""

import errno
import socket
from typing import Any

from mesh.process.listening import ListenFailed

BACKLOG_CONNECTIONS = 1024


def listening_socket(address: str) -> socket.socket:
    """A listening TCP socket that no other process shares; `address` is host:port.

    Raises ListenFailed.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # Connections of a server that has just stopped must not block the next one;
            # on Linux this does not let two listeners share a port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG_CONNECTIONS)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ListenFailed(
                f"{address} is taken by another process; set MESH_LISTEN to a free host:port."
            ) from None
        raise ListenFailed(
            f"{address} cannot be listened on ({error.strerror or error}); "
            "set MESH_LISTEN to a host:port of this machine."
        ) from None
    return listener


def name_of_peer(peer: tuple[Any, ...]) -> str:
    """host:port or [host]:port of a connection's peer."""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def handed_socket(descriptor: int) -> socket.socket:
    """The listening socket that this process inherited (docs/adr/0024). The parent keeps it
    open, so connections wait in it while no process serves.

    Raises ListenFailed.
    """
    refused = ListenFailed(
        f"MESH_LISTEN_FD={descriptor} is not a listening socket of this process; "
        "unset it, and the gateway listens on MESH_LISTEN."
    )
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        raise refused from None
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()  # the descriptor is not ours to close
        raise refused
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener
