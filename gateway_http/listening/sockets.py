"""The listening socket of the gateway: its own, or one that was handed down.

It is bound without SO_REUSEPORT, with which a second server would silently take half of the
connections: a taken port is refused. Port 0 takes a free one.
"""

import errno
import socket

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
            # Connections of a server that has just left must not hold up the next;
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


def handed_socket(descriptor: int) -> socket.socket:
    """The listening socket that this process was started with (docs/adr/0024). Whoever
    handed it down keeps it, so that connections wait in it while nobody serves.

    Raises ListenFailed.
    """
    refused = ListenFailed(
        f"MESH_LISTEN_FD={descriptor} is no listening socket of this process; "
        "unset it to have the gateway listen on MESH_LISTEN itself."
    )
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        raise refused from None
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()  # whatever it is, it is not ours to close
        raise refused
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener
