"""The reader returns exactly the complete requests, however the bytes are split."""

import pytest

from gateway_http.exchange import HttpRequest
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.request_reader import Phase, RequestReader

BOUNDS = Bounds(max_head_bytes=1024, max_headers=8, max_body_bytes=100, max_discarded_bytes=400)
HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reader(clock: Clock | None = None) -> RequestReader:
    return RequestReader(BOUNDS, client="192.0.2.1:5", scheme="http", clock=clock or Clock())


def read(*pieces: bytes) -> RequestReader:
    reading = reader()
    for piece in pieces:
        reading.feed(piece)
    return reading


def one(*pieces: bytes) -> HttpRequest:
    (request,) = read(*pieces).requests
    return request


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + framed + end


def sized(body: bytes, size_bytes: int | None = None) -> bytes:
    size_bytes = len(body) if size_bytes is None else size_bytes
    return HEAD + b"content-length: %d\r\n\r\n" % size_bytes + body


REQUESTS = {
    "get": b"GET /a%20b?x=%31 HTTP/1.1\r\nhost: x\r\n\r\n",
    "sized": sized(b"body"),
    "chunked": chunked(b"bo", b"dy"),
    "trailers": chunked(b"body", end=b"0\r\nlate: er\r\n\r\n"),
}


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_the_same_however_its_bytes_are_split(data: bytes) -> None:
    whole = one(data)
    assert whole.body == (b"" if whole.method == "GET" else b"body")
    pieces = one(*(data[at : at + 1] for at in range(len(data))))
    for name in ("method", "path", "query", "body", "is_last"):
        assert getattr(pieces, name) == getattr(whole, name)
    assert pieces.headers.get("host") == "x"
    assert pieces.headers.get("late") is None


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_a_request_that_breaks_off_never_comes_out(data: bytes) -> None:
    for end in range(len(data)):
        reading = read(data[:end])
        assert not reading.requests
        reading.end_late()
        assert not reading.requests


def test_the_target_is_split_and_not_decoded() -> None:
    request = one(REQUESTS["get"])
    assert (request.path, request.query) == ("/a%20b", "x=%31")
    absolute = one(b"GET http://host:80/items?a=b HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (absolute.path, absolute.query) == ("/items", "a=b")
    assert one(b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").path == "*"
    assert one(b"GET /%ff HTTP/1.1\r\nhost: x\r\n\r\n").path == "/%ff"


def test_headers_are_found_by_lower_case_names_and_the_first_wins() -> None:
    headers = b"X-A: 1 \r\nx-a: 2\r\nEmpty:\r\nLatin: \xe9\r\n"
    request = one(b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
    assert request.headers.get("x-a") == "1"
    assert request.headers.get_all("x-a") == ["1", "2"]
    assert ("empty" in request.headers, request.headers.get("empty")) == (True, "")
    assert request.headers.get("latin") == "\xe9"
    assert request.headers.get("none", "d") == "d"


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n folded\r\n\r\n",
        HEAD + b"content-length: abc\r\n\r\n",
        HEAD + b"content-length: " + b"9" * 500 + b"\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: gzip\r\n\r\n",
        chunked(b"body", end=b"zz\r\n"),
        chunked(b"body", end=b"1\r\nab\r\n"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=repr,
)
def test_a_malformed_request_is_refused_and_nothing_is_read_after_it(data: bytes) -> None:
    reading = read(data, REQUESTS["get"])
    assert reading.failure is not None
    assert (reading.failure.reason, reading.is_over) == ("BAD_REQUEST", True)
    assert not reading.requests


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"host: a\r\nhost: a\r\n",
        b"host: a b\r\n",
        b"host: a/b\r\n",
        b"host: user@a\r\n",
        b"host: a:b\r\n",
        b"host: a:1:2\r\n",
        b"host: [::1\r\n",
        b"host: \xe9\r\n",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_request_needs_one_valid_host(method: bytes, hosts: bytes) -> None:
    body = b"" if method == b"GET" else b"content-length: 2\r\n"
    reading = read(method + b" / HTTP/1.1\r\n" + hosts + body + b"\r\n", b"{}")
    assert reading.failure is not None
    assert reading.failure.reason == "BAD_REQUEST"
    assert not reading.requests


@pytest.mark.parametrize(
    "host", ["", "x", "a.example:8080", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443", "a_b", "%41"]
)
def test_a_host_may_be_a_name_or_an_address(host: str) -> None:
    assert one(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).path == "/"
    assert one(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()).path == "/"


def test_requests_before_a_malformed_one_are_answered_first() -> None:
    reading = read(REQUESTS["get"] + sized(b"body") + b"GARBAGE\r\n\r\n")
    assert [request.method for request in reading.requests] == ["GET", "POST"]
    assert reading.failure is not None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 1100,
        b"GET /" + b"x" * 1100 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 1100,
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 1100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 9 + b"\r\n",
    ],
    ids=["long url", "whole long url", "long header", "whole long header", "many headers"],
)
@pytest.mark.parametrize("step_bytes", [10_000, 7])
def test_heads_are_bounded(data: bytes, step_bytes: int) -> None:
    reading = read(*(data[at : at + step_bytes] for at in range(0, len(data), step_bytes)))
    assert reading.failure is not None
    assert reading.failure.reason == "HEAD_TOO_LARGE"
    assert not reading.requests


@pytest.mark.parametrize("data", [sized(b"x" * 101), chunked(b"x" * 60, b"x" * 41)])
def test_a_body_that_is_too_large_is_read_to_its_end_and_not_kept(data: bytes) -> None:
    reading = read(data + REQUESTS["get"])
    first, second = reading.requests
    assert (first.is_too_large, first.is_last, first.body) == (True, False, b"")
    assert (second.method, second.is_too_large) == ("GET", False)
    assert one(sized(b"x" * 100)).body == b"x" * 100


@pytest.mark.parametrize(
    "data",
    [
        sized(b"x" * 600, 10_000),
        chunked(*(b"x" * 60 for _ in range(20))),
        chunked(*(b"x" for _ in range(90))),
        chunked(b"x", end=b"0\r\nlate: " + b"x" * 600),
    ],
    ids=["sized", "chunked", "many chunks", "trailers"],
)
def test_discarded_bytes_are_bounded(data: bytes) -> None:
    reading = read(*(data[at : at + 10] for at in range(0, len(data), 10)))
    (request,) = reading.requests
    assert (request.is_too_large, request.is_last, reading.is_over) == (True, True, True)


def test_a_client_that_expects_100_continue_gets_it_or_an_answer() -> None:
    asking = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    reading = read(asking % 4)
    assert (reading.awaits_continue, len(reading.requests)) == (True, 0)
    reading.feed(b"body")
    assert (reading.awaits_continue, reading.requests[0].body) == (False, b"body")
    (refused,) = read(asking % 101, b"x" * 101).requests
    assert (refused.is_too_large, refused.is_last) == (True, True)


@pytest.mark.parametrize(
    ("headers", "is_last"),
    [
        (b"", False),
        (b"connection: close\r\n", True),
        (b"connection: upgrade\r\nupgrade: h2c\r\n", True),
    ],
)
def test_the_last_request_of_a_connection_is_known(headers: bytes, is_last: bool) -> None:
    rest = b"nonsense" if is_last else b""
    reading = read(b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n", rest)
    assert (reading.requests[0].is_last, reading.is_over) == (is_last, is_last)
    assert reading.failure is None
    assert one(b"GET / HTTP/1.0\r\n\r\n").is_last


UPGRADE = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 12\r\n\r\n" + b'{"count":10}',
        b"transfer-encoding: chunked\r\n\r\nc\r\n" + b'{"count":10}' + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
def test_an_offered_upgrade_is_ignored_and_the_body_is_read(rest: bytes, size: int) -> None:
    data = UPGRADE + rest
    reading = read(*(data[at : at + size] for at in range(0, len(data), size)))
    assert [request.body for request in reading.requests] == [b'{"count":10}']
    assert (reading.failure, reading.is_over) == (None, True)


@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 12\r\n\r\n",
        b"content-length: 12\r\n\r\n{}",
        b"transfer-encoding: chunked\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_no_request_comes_of_an_upgrade_whose_body_breaks_off(rest: bytes) -> None:
    assert not read(UPGRADE + rest).requests


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: " + b"0" * 30 + b"2\r\n\r\n{}",
        b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_a_body_whose_end_is_unclear_is_refused(headers: bytes) -> None:
    reading = read(b"POST / HTTP/1.1\r\nhost: x\r\n" + headers)
    assert reading.failure is not None
    assert reading.failure.reason == "BAD_REQUEST"
    assert not reading.requests


def test_a_chunked_body_of_http_1_0_is_refused() -> None:
    reading = read(b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (reading.failure is None, len(reading.requests)) == (False, 0)


def test_a_timeout_names_the_part_that_was_late() -> None:
    late_head, late_body, large_body = read(HEAD), read(sized(b"a", 4)), read(sized(b"a", 400))
    assert (late_head.phase, late_body.phase) == (Phase.HEAD, Phase.BODY)
    for reading in (late_head, late_body):
        reading.end_late()
        assert reading.failure is not None
        assert reading.failure.reason == "REQUEST_TIMEOUT"
    large_body.end_late()
    assert (large_body.failure, large_body.requests[0].is_too_large) == (None, True)
    idle = reader()
    idle.end_late()
    assert (idle.failure, len(idle.requests)) == (None, 0)


def test_a_request_has_the_time_its_body_took() -> None:
    clock = Clock()
    reading = reader(clock)
    reading.feed(sized(b"bo", 4))
    clock.now += 3.0
    reading.feed(b"dy" + REQUESTS["get"])
    assert [request.waited_seconds for request in reading.requests] == [3.0, 0.0]
