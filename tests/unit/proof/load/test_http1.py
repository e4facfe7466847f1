"""The load generator's HTTP client: complete answers in any pieces, and malformed ones."""

import asyncio

import pytest

from proof.load.http1 import Answer, Connection, MalformedAnswer, connect, parse_answer
from tests.unit.proof.load.piecewise_server import piecewise_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nx-request-id: 1\r\n\r\n"
ANSWER = HEAD + b'{"a":"\r\n\r\n"'
EXPECTED = Answer(200, b'{"a":"\r\n\r\n"')

MALFORMED = {
    "no length": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "no status": b"hello\r\ncontent-length: 0\r\n\r\n",
    "two answers": ANSWER + ANSWER,
    "a length in the body alone": b"HTTP/1.1 200 OK\r\na: b\r\n\r\n\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("size", range(len(ANSWER)))
def test_part_of_an_answer_is_none_yet(size: int) -> None:
    assert parse_answer(ANSWER[:size]) is None


def test_a_whole_answer_is_read() -> None:
    assert parse_answer(ANSWER) == EXPECTED
    assert parse_answer(b"HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n") == Answer(503, b"")
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"
    assert parse_answer(closing) == Answer(200, b"", is_last=True)


@pytest.mark.parametrize("received", MALFORMED.values(), ids=MALFORMED.keys())
def test_bytes_other_than_one_answer_with_a_length_are_refused(received: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse_answer(received)


class Exchange:
    """A connection whose answers and end can be awaited."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Answer | ConnectionError] = asyncio.Queue()

    async def connect(self, port: int) -> Connection:
        return await connect("127.0.0.1", port, self.said.put_nowait, self.said.put_nowait)

    async def next(self) -> Answer | ConnectionError:
        return await asyncio.wait_for(self.said.get(), 5)


async def test_answers_in_pieces_are_put_together_on_one_connection() -> None:
    exchange = Exchange()
    async with piecewise_server([[ANSWER[:20], ANSWER[20:60], ANSWER[60:]], [ANSWER]]) as port:
        connection = await exchange.connect(port)
        for request in (b"1", b"2"):
            connection.send(request)
            assert await exchange.next() == EXPECTED
        connection.close()


async def test_a_connection_that_breaks_within_an_answer_ends() -> None:
    exchange = Exchange()
    async with piecewise_server([[ANSWER[:20]]]) as port:
        connection = await exchange.connect(port)
        connection.send(b"1")
        assert isinstance(await exchange.next(), ConnectionResetError)


@pytest.mark.parametrize("pieces", [[MALFORMED["no length"]], [ANSWER, ANSWER]])
async def test_a_peer_that_does_not_keep_to_the_protocol_ends_the_connection(
    pieces: list[bytes],
) -> None:
    exchange = Exchange()
    async with piecewise_server([pieces]) as port:
        connection = await exchange.connect(port)
        connection.send(b"1")
        said = await exchange.next()
        if said == EXPECTED:  # the second answer has no request
            said = await exchange.next()
        assert isinstance(said, MalformedAnswer)


async def test_the_end_has_the_cause_of_closing() -> None:
    exchange = Exchange()
    async with piecewise_server([[ANSWER]]) as port:
        connection = await exchange.connect(port)
        cause = ConnectionError("too late")
        connection.close(cause)
        connection.close()
        assert await exchange.next() is cause
