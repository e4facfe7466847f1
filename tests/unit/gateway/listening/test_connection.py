"""One connection with good and bad clients, over real sockets."""

import asyncio
import socket
import struct
from dataclasses import replace

import pytest

from gateway_http.errors import STATUS_BY_CODE, STATUS_BY_REASON
from tests.unit.gateway.listening.serving import GET, PATIENCE_SECONDS, PATIENT, SHORT, running
from tests.unit.registry.running import until

POST = b"POST /a HTTP/1.1\r\nhost: x\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_answers_have_the_headers_that_http_requires() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(GET)
        status, headers, body = await client.answer()
        assert (status, headers.pop("date")[-3:], body) == (200, "GMT", b"/hello")
        assert headers == {"x-a": "b", "content-type": "application/json", "content-length": "6"}
        client.write(b"HEAD /hello HTTP/1.1\r\nhost: x\r\n\r\n")
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
        assert "content-length: 6" in head
        client.write(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, body) == (204, b"")
        assert "content-length" not in headers
        (peer, *_) = {request.client for request in run.application.requests}
        host, port = client.writer.get_extra_info("sockname")
        assert peer == f"{host}:{port}"
        client.close()


async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(WAIT + GET + POST + b"content-length: 4\r\n\r\nbody")
        await run.application.asked.wait()
        client.write(GET * 3)
        assert len(run.application.requests) == 1
        run.application.go_on.set()
        bodies = [(await client.answer())[2] for _ in range(6)]
        assert bodies == [b"/wait", b"/hello", b"/abody", b"/hello", b"/hello", b"/hello"]
        client.close()


BROKEN = {
    "head": POST,
    "sized body": POST + b"content-length: 4\r\n\r\nbod",
    "chunked body": POST + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n",
    "chunked body before its last line": POST
    + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n",
}


@pytest.mark.parametrize("how", ["close", "reset", "half-close", "bad chunk"])
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_a_request_that_breaks_off_is_never_executed(sent: bytes, how: str) -> None:
    async with running() as run:
        client = await run.connect()
        client.write(GET)  # so that the connection is known to be established
        await client.answer()
        client.write(sent)
        await asyncio.sleep(0.02)
        if how == "bad chunk":
            client.write(b"\0zz\r\n")
        elif how == "half-close":
            client.writer.write_eof()
        elif how == "close":
            client.close()
        else:
            client.reset()
        if how in ("bad chunk", "half-close") and sent != BROKEN["sized body"]:
            rest = await client.rest()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
        client.reset()
    assert [request.path for request in run.application.requests[:2]] in (
        ["/hello"],
        # Any four bytes are a valid body of length four.
        ["/hello", "/a"] if (how, sent) == ("bad chunk", BROKEN["sized body"]) else ["/hello"],
    )


SILENT = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "half a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM",
    "half a head": POST,
    "half a body": POST + b"content-length: 4\r\n\r\nbod",
    "half a large body": POST + b"content-length: 400\r\n\r\nbod",
    "after an answer": GET,
}


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT)
async def test_a_silent_connection_is_closed(sent: bytes) -> None:
    async with running(SHORT) as run:
        client = await run.connect()
        client.write(sent)
        await client.rest()
        client.close()
        await until(lambda: run.server.connection_count == 0)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(POST, b"408"), (POST + b"content-length: 40\r\n\r\n", b"408")],
    ids=["head", "body"],
)
async def test_a_slow_sender_is_answered_in_time(sent: bytes, status: bytes) -> None:
    async with running(SHORT) as run:
        client = await run.connect()
        client.write(sent)

        async def trickle() -> None:
            while True:
                client.write(b"a")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        answer = await client.rest()
        trickling.cancel()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"\r\nconnection: close\r\n" in answer
        assert run.application.requests == []
        client.close()


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 300_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 431 ")
        assert run.application.requests == []
        client.close()


async def test_a_client_with_a_far_too_large_body_still_gets_an_answer() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(POST + b"content-length: 99999999\r\n\r\n" + b"x" * 600_000)
        status, headers, body = await client.answer()
        assert (status, body, headers["connection"]) == (200, b"/a", "close")
        assert run.application.requests[0].is_too_large
        client.close()


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(POST + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await client.ask(b"body") == (200, b"/abody")
        client.write(POST + b"expect: 100-continue\r\ncontent-length: 101\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")
        assert run.application.requests[1].is_too_large
        client.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_client_that_goes_away_cancels_its_work(how: str) -> None:
    async with running() as run:
        client = await run.connect()
        client.write(WAIT)
        await run.application.asked.wait()
        if how == "half-close":
            client.writer.write_eof()
        elif how == "close":
            client.close()
        else:
            client.reset()
        await asyncio.wait_for(run.application.cancelled.wait(), PATIENCE_SECONDS)
        client.close()


async def test_a_half_closed_client_gets_an_answer_that_is_ready_soon() -> None:
    async with running(replace(PATIENT, half_closed_seconds=30.0)) as run:
        client = await run.connect()
        client.write(WAIT)
        client.writer.write_eof()
        await run.application.asked.wait()
        await asyncio.sleep(0.02)
        run.application.go_on.set()
        assert (await client.rest()).endswith(b"/wait")
        client.close()


@pytest.mark.parametrize("count", [2, 500])
async def test_all_requests_before_a_half_close_are_answered(count: int) -> None:
    async with running() as run:
        client = await run.connect()
        client.write(WAIT + GET * count + POST)
        client.writer.write_eof()
        await run.application.asked.wait()
        run.application.go_on.set()
        answers = await client.rest()
        assert answers.count(b"HTTP/1.1 200 ") == 1 + count
        assert answers.endswith(b"/hello")
        assert len(run.application.requests) == 1 + count  # the unfinished one is not among them
        client.close()


async def test_requests_before_a_half_close_are_answered_to_a_slow_reader() -> None:
    async with running() as run:
        client = await run.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
        await until(lambda: run.application.requests != [])
        client.writer.write_eof()
        await asyncio.sleep(0.05)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.rest()).endswith(b"/hello")
        client.close()


async def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    async with running(SHORT) as run:
        client = await run.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        await until(lambda: run.application.requests != [])
        await until(lambda: run.server.connection_count == 0)
        assert len(run.application.requests) == 1
        client.reset()


async def test_a_bug_of_the_application_ends_its_connection_alone() -> None:
    async with running() as run:
        client, other = await run.connect(), await run.connect()
        client.write(b"GET /bug HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.rest() == b""
        assert await other.ask(GET) == (200, b"/hello")
        client.close()
        other.close()


async def test_pipelined_requests_are_parsed_a_few_at_a_time() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(WAIT + b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 20_000)
        await run.application.asked.wait()
        [connection] = run.server.connections
        assert connection.parsed_count < 300
        run.application.go_on.set()
        await until(lambda: len(run.application.requests) > 1000)
        client.reset()


async def test_a_client_beyond_its_limit_is_closed_if_it_has_sent_more() -> None:
    limited = b"GET /status/429 HTTP/1.1\r\nhost: x\r\n\r\n"
    async with running() as run:
        client = await run.connect()
        assert (await client.ask(limited))[0] == 429
        assert (await client.ask(GET))[0] == 200
        client.write(limited * 1000)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (429, "close")
        assert await client.rest() == b""
        assert len(run.application.requests) == 3
        client.close()


@pytest.mark.parametrize("status", sorted({*STATUS_BY_CODE.values(), *STATUS_BY_REASON.values()}))
async def test_every_status_of_an_error_can_be_sent(status: int) -> None:
    async with running() as run:
        client = await run.connect()
        sent = await client.ask(b"GET /status/%d HTTP/1.1\r\nhost: x\r\n\r\n" % status)
        assert sent[0] == status
        client.close()


async def test_a_status_without_a_phrase_ends_its_connection_alone() -> None:
    async with running() as run:
        client = await run.connect()
        client.write(b"GET /status/999 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.rest() == b""
        client.close()
        other = await run.connect()
        assert (await other.ask(GET))[0] == 200
        other.close()


async def test_connections_that_are_reset_before_they_are_accepted_leave_nothing() -> None:
    async with running() as run:
        for _ in range(200):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect(run.address)
            client.close()
        other = await run.connect()
        assert (await other.ask(GET))[0] == 200
        other.close()
        await until(lambda: run.server.connection_count == 0)


@pytest.mark.parametrize("sent", [b"GET /a HT", POST + b"content-length: 4\r\n\r\nbo"])
async def test_an_unfinished_request_does_not_hold_up_leaving(sent: bytes) -> None:
    async with running(replace(PATIENT, leave_seconds=0.1)) as run:
        client = await run.connect()
        assert (await client.ask(GET))[0] == 200
        client.write(sent)
        await asyncio.sleep(0.05)
        run.server.leave()
        async with asyncio.timeout(5):
            await run.serving
        client.close()
