"""A client of raw HTTP/2 frames (RFC 9113), for what no gRPC client does.

It opens calls and leaves them unfinished, takes no answers, and opens more streams than it may.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
REFUSED_STREAM = 7
FIRST_WINDOW_BYTES = 65_535
"""Of a connection, and of a stream without INITIAL_WINDOW_SIZE (RFC 9113, 6.9.2)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, as it was read."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Http2:
    """One connection, with blocking sockets."""

    def __init__(
        self,
        address: str,
        settings: Mapping[int, int] | None = None,
        *,
        source: str = "127.0.0.1",
        timeout_seconds: float = 10.0,
    ) -> None:
        """Connects from `source` and sends the settings, by their numbers."""
        host, _, port = address.rpartition(":")
        place = (host, int(port))
        self.socket = socket.create_connection(place, timeout_seconds, source_address=(source, 0))
        self._last_stream = -1
        self.socket.sendall(preface(settings or {}))

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def open(self, path: str, metadata: Mapping[str, str] | None = None) -> int:
        """Sends the head of a call, and returns the number of its stream."""
        self._last_stream += 2
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "mesh",
            "te": "trailers",
            "content-type": "application/grpc",
            **(metadata or {}),
        }
        block = b"".join(b"\0" + _text(each) + _text(fields[each]) for each in fields)
        self.socket.sendall(_frame(HEADERS, END_HEADERS, self._last_stream, block))
        return self._last_stream

    def send(self, stream: int, message: bytes) -> None:
        """Sends the only message of a call."""
        prefixed = b"\0" + struct.pack(">I", len(message)) + message
        self.socket.sendall(_frame(DATA, END_STREAM, stream, prefixed))

    def begin(self, stream: int, length_bytes: int) -> None:
        """Sends the first byte of a message of that length."""
        prefixed = b"\0" + struct.pack(">I", length_bytes) + b"\0"
        self.socket.sendall(_frame(DATA, 0, stream, prefixed))

    def frames(self) -> Iterator[Frame]:
        """The frames as they arrive, until the server closes the connection. Acknowledges settings
        and pings. Raises TimeoutError if the server is silent for longer than the timeout."""
        while head := self._read(9):
            length = int.from_bytes(head[:3])
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            yield self._taken(Frame(kind, flags, stream, self._read(length)))

    def _taken(self, frame: Frame) -> Frame:
        if frame.kind in (SETTINGS, PING) and not frame.flags & ACK:
            payload = frame.payload if frame.kind == PING else b""
            self.socket.sendall(_frame(frame.kind, ACK, 0, payload))
        return frame

    def _read(self, count: int) -> bytes:
        """That many bytes, or fewer at the end of the connection."""
        received = b""
        while len(received) < count:
            try:
                chunk = self.socket.recv(count - len(received))
            except ConnectionResetError:
                return b""
            if not chunk:
                return b""
            received += chunk
        return received


def settings_of(frame: Frame) -> dict[int, int]:
    """The settings in a SETTINGS frame."""
    return dict(struct.iter_unpack(">HI", frame.payload))


def preface(settings: Mapping[int, int]) -> bytes:
    """What a client sends first."""
    payload = b"".join(struct.pack(">HI", *each) for each in settings.items())
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, payload)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    """A string as HPACK has it, without Huffman's code (RFC 7541, 5.2)."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text.encode("ascii")
    rest, octets = length - 127, [127]
    while rest >= 128:
        octets.append(rest % 128 + 128)
        rest //= 128
    return bytes([*octets, rest]) + text.encode("ascii")


PREFACE = preface({})
"""What a client without settings of its own sends first."""
