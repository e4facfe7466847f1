"""A cheap HTTP/1.1 connection that sends prepared requests, one at a time.

It supports only what the gateway's answers have: a status, a content-length, and a connection
that stays open. Anything else is an error, so it never gives a wrong figure. `on_answer` is
called directly from the event loop's data callback, because a task, a future and a timer for
each answer would double the cost.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_END_OF_HEAD = b"\r\n\r\n"


class MalformedAnswer(ConnectionError):
    """The peer does not send HTTP/1.1 as expected here."""


class Answer(NamedTuple):
    """An answer. `is_last`: the peer closes the connection after it."""

    status: int
    body: bytes
    is_last: bool = False


def parse_answer(received: bytes) -> Answer | None:
    """The complete answer, or None while a part is missing. Raises MalformedAnswer."""
    end = received.find(_END_OF_HEAD)
    if end < 0:
        return None
    status = _STATUS.match(received)
    length = _CONTENT_LENGTH.search(received, 0, end + 2)
    if status is None or length is None:
        raise MalformedAnswer(f"an answer without a status or a length: {received[:200]!r}")
    body = received[end + len(_END_OF_HEAD) :]
    missing = int(length[1]) - len(body)
    if missing < 0:
        raise MalformedAnswer(f"more than one answer to one request: {received[:200]!r}")
    is_last = _CLOSE.search(received, 0, end + 2) is not None
    return None if missing else Answer(int(status[1]), body, is_last)


class Connection(asyncio.Protocol):
    """One keep-alive connection, made by `connect`."""

    def __init__(
        self, on_answer: Callable[[Answer], None], on_end: Callable[[ConnectionError], None]
    ) -> None:
        """`on_answer` may send the next request at once. `on_end` is called once, also when this
        side closes the connection, and nothing is called after it."""
        self._on_answer = on_answer
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._is_asked = False
        self._cause: ConnectionError | None = None

    def send(self, request: bytes) -> None:
        """Sends a request; call it again only after its answer."""
        assert not self._is_asked, "one request at a time"
        assert self._transport is not None, "connect() returns it connected"
        self._is_asked = True
        self._transport.write(request)

    def close(self, cause: ConnectionError | None = None) -> None:
        """Aborts the connection; `on_end` gets the cause a moment later. Idempotent."""
        self._cause = self._cause or cause
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have all the methods, but are no subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        try:
            if not self._is_asked:
                raise MalformedAnswer(f"an answer without a request: {received[:200]!r}")
            answer = parse_answer(received)
        except MalformedAnswer as error:
            self.close(error)
            return
        if answer is None:
            self._received = received
            return
        self._received = b""
        self._is_asked = False
        self._on_answer(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._on_end(self._cause or ConnectionResetError(f"the connection broke: {error}"))


async def connect(
    host: str,
    port: int,
    on_answer: Callable[[Answer], None],
    on_end: Callable[[ConnectionError], None],
    trust: ssl.SSLContext | None = None,
) -> Connection:
    """Connects, over TLS if `trust` is given. Raises OSError."""
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(on_answer, on_end), host, port, ssl=trust
    )
    return connection
