"""The connections of a port, with sockets of this process."""

import socket

from mesh.serving.connections import PortConnections


def test_connections_are_counted_whenever_they_may_have_changed() -> None:
    counts: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connections = PortConnections(port, 1000, 4000, observe=counts.append)
        connections.end_excess([])
        connections.end_excess([])
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            connections.end_excess([])
            connections.end_excess([])
        connections.end_excess([])
    assert counts == [0, 1, 0]


def test_the_bound_holds_among_the_same_files_as_before() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connections = PortConnections(port, 1, 4000)
        opened: list[socket.socket] = []
        try:
            for _ in range(2):
                opened.append(socket.create_connection(("127.0.0.1", port)))
                opened.append(listener.accept()[0])
                connections.end_excess([])
            assert connections.end_excess([]) == {"127.0.0.1": 1}, "asked again as before"
        finally:
            for each in opened:
                each.close()
