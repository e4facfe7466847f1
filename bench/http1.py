"""A connection that sends ready-made HTTP/1.1 requests, one at a time, at little cost.

It knows what the gateway's answers need and no more: a status, a content-length, and
a connection that stays open. Anything else is an error, never a wrong figure.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_END_OF_HEAD = b"\r\n\r\n"


class MalformedAnswer(ConnectionError):
    """The peer does not speak HTTP/1.1 as it is expected here."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def parse_answer(received: bytes) -> Answer | None:
    """The whole answer, or None while some of it is missing. Raises MalformedAnswer."""
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
    return None if missing else Answer(int(status[1]), body)


class Connection(asyncio.Protocol):
    """One keep-alive connection, made by `connect`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Sends a request and waits for its answer; call it again only after that.

        Raises ConnectionError; the connection is of no use then.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection was closed between two requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses, though they have all the methods.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        try:
            answer = parse_answer(self._received)
        except MalformedAnswer as error:
            self._end(error)
            return
        if answer is not None and self._answer is not None and not self._answer.done():
            self._received = b""
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ConnectionResetError(f"the connection broke: {error}"))

    def _end(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()


async def connect(host: str, port: int) -> Connection:
    """Raises OSError."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection
