"""The load generator's own HTTP: whole answers, however they arrive, and no wrong ones."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bench.http1 import Answer, MalformedAnswer, connect, parse_answer

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


@pytest.mark.parametrize("received", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_one_answer_with_a_length_is_refused(received: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse_answer(received)


async def test_answers_in_pieces_are_put_together_on_one_connection() -> None:
    async with _server([[ANSWER[:20], ANSWER[20:60], ANSWER[60:]], [ANSWER]]) as port:
        connection = await connect("127.0.0.1", port)
        assert await connection.exchange(b"1") == EXPECTED
        assert await connection.exchange(b"2") == EXPECTED
        connection.close()


async def test_a_connection_that_breaks_fails_its_request_and_every_later_one() -> None:
    async with _server([[ANSWER[:20]]]) as port:
        connection = await connect("127.0.0.1", port)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await connection.exchange(b"1")


async def test_a_peer_that_does_not_speak_http_fails_the_request() -> None:
    async with _server([[MALFORMED["no length"]]]) as port:
        connection = await connect("127.0.0.1", port)
        with pytest.raises(MalformedAnswer):
            await connection.exchange(b"1")


@asynccontextmanager
async def _server(answers: Sequence[Sequence[bytes]]) -> AsyncIterator[int]:
    """Answers one request after the other with the given pieces, then hangs up."""

    has_hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for pieces in answers:
            await reader.read(1)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        has_hung_up.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await has_hung_up.wait()
