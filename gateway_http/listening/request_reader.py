"""Parses the bytes of a connection into complete requests. Pure: no socket, no clock of its own.

Guarantees: it returns only requests that are complete and well formed. It never returns a broken
one (the connection ended, a chunk's size is not a number). The sizes of heads, of bodies and of
discarded bytes are bounded. The parser is llhttp, the one of Node, in its strict mode: two
Content-Length headers, or one beside Transfer-Encoding, are an error. HTTP/1.1 needs one Host.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from gateway_http.errors import BadRequest, HeadTooLarge, RequestTimeout
from gateway_http.exchange import Headers, HttpRequest
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.heads import check_version_and_host, declared_length, split_target
from mesh.errors import MeshError

BODY_FRAMING = frozenset({"content-length", "transfer-encoding"})
"""The headers that say where a body ends."""


_KNOWN_NAMES = {
    spelling.encode(): name
    for name in (
        *("accept", "accept-encoding", "accept-language", "authorization", "connection"),
        *("content-length", "content-type", "grpc-timeout", "host", "idempotency-key"),
        *("if-none-match", "origin", "referer", "traceparent", "user-agent"),
        *("x-forwarded-for", "x-forwarded-proto", "x-request-id"),
    )
    for spelling in (name, name.title())
}
"""The names of common headers in their common spellings, so that these are not decoded anew."""


class Phase(Enum):
    """What has arrived of a request: nothing, a part of its head, a part of its body, or a part
    of a body that is too large."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    DISCARDING = "discarding"


class _Stop(Exception):
    """Stops the parser from within one of its callbacks, without an error."""


class RequestReader:
    """Reads the requests of one connection.

    `requests` are the complete ones that wait for their answers, in order. The answer to
    `failure`, if it is set, comes after theirs. `is_over` means that nothing more is read.
    `awaits_continue` means that the client waits for "100 Continue" before it sends its body.
    """

    def __init__(
        self, bounds: Bounds, *, client: str, scheme: str, clock: Callable[[], float]
    ) -> None:
        """`client` is host:port of the connection's peer; `clock` returns seconds."""
        self.requests: deque[HttpRequest] = deque()
        self.failure: MeshError | None = None
        self.is_over = False
        self.awaits_continue = False
        self.phase = Phase.IDLE
        self._bounds = bounds
        self._max_headers = bounds.max_headers
        self.client = client
        self._scheme = scheme
        self._clock = clock
        self._parser = HttpRequestParser(self)
        self._url = b""
        self._pairs: list[tuple[str, str]] = []
        self._request: HttpRequest | None = None
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._declared_bytes: int | None = None
        self._is_in_new_head = False
        self._fed_bytes = 0
        self._last_fed_bytes = 0
        self._head_at = 0.0

    @property
    def headers(self) -> Headers | None:
        """The headers of a request whose body has not arrived whole; None otherwise."""
        if self._request is None or self.phase not in (Phase.BODY, Phase.DISCARDING):
            return None
        return self._request.headers

    @property
    def wait_seconds(self) -> float:
        """How long the part that is being read may take from its beginning."""
        bounds = self._bounds
        if self.phase is Phase.IDLE:
            return bounds.idle_seconds
        if self.phase is Phase.HEAD:
            return bounds.head_seconds
        return bounds.body_seconds if self.phase is Phase.BODY else bounds.discard_seconds

    def feed(self, data: bytes) -> None:
        """Parses the next bytes; ignores them when `is_over`."""
        if self.is_over:
            return
        self._last_fed_bytes = len(data)
        self._fed_bytes += self._last_fed_bytes
        self._parse(data)
        if not self.is_over:
            self._check_what_was_fed()

    def end_late(self) -> None:
        """Records a timeout of the part that is being read."""
        if self.phase is Phase.DISCARDING:
            self._give_up_body()
        elif self.phase is not Phase.IDLE:
            self._fail(RequestTimeout())

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            if not self.is_over:
                self._ignore_upgrade(data[upgrade.args[0] :])
        except HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, MeshError):
                self._fail(cause)
            elif not isinstance(cause, _Stop):
                raise
        except HttpParserError:
            if not self.is_over:
                self._fail(BadRequest())

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Reads the body of a request that offered another protocol (RFC 9110, 7.8).

        llhttp takes what follows such a head for the other protocol. So a new parser gets the
        headers that frame the body, and then the body; the strict rules for both still hold.
        """
        framing = "".join(
            f"{name}: {value}\r\n" for name, value in self._pairs if name in BODY_FRAMING
        )
        self._parser = HttpRequestParser(self)
        self._is_in_new_head = True
        self._parse(f"POST / HTTP/1.1\r\n{framing}\r\n".encode("latin-1"))
        if rest and not self.is_over:
            self._parse(rest)

    def on_message_begin(self) -> None:
        """Called by the parser, as are all `on_` methods."""
        if self._is_in_new_head:
            return
        self._url = b""
        self._pairs = []
        self._request = None
        self._body_bytes = 0
        self.phase = Phase.HEAD

    def on_url(self, url: bytes) -> None:
        if not self._is_in_new_head:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:
            return  # trailers are ignored
        if len(self._pairs) == self._max_headers:
            raise HeadTooLarge(self._bounds.max_head_bytes)
        known = _KNOWN_NAMES.get(name) or name.decode("latin-1").lower()
        self._pairs.append((known, value.decode("latin-1").rstrip(" \t")))

    def on_headers_complete(self) -> None:
        if self._is_in_new_head:
            self._is_in_new_head = False
            return
        self._check_head_size()
        headers, version = Headers(self._pairs), self._parser.get_http_version()
        check_version_and_host(version, headers)
        path, query = split_target(self._url)
        request = self._request = HttpRequest(
            method=self._parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            client=self.client,
            scheme=self._scheme,
            is_last=not self._parser.should_keep_alive() or self._parser.should_upgrade(),
        )
        self._declared_bytes = declared_length(version, headers)
        if self._declared_bytes is not None or "transfer-encoding" in headers:
            self._begin_body(request, self._declared_bytes or 0)

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self.phase is Phase.DISCARDING:
            return
        if self._body_bytes <= self._bounds.max_body_bytes:
            self._chunks.append(chunk)
            return
        self._chunks.clear()
        self.phase = Phase.DISCARDING

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None, "llhttp ends no message before its head"
        if self.phase is not Phase.HEAD and self._parser.should_upgrade():
            return  # its body follows: see _ignore_upgrade
        if self._declared_bytes not in (None, self._body_bytes):
            raise BadRequest  # whatever the parser says, the body is not whole
        if self.phase is Phase.DISCARDING:
            request.is_too_large = True
        elif self._chunks:
            request.body = b"".join(self._chunks)
            self._chunks.clear()
        if self.phase is not Phase.HEAD:
            request.waited_seconds = self._clock() - self._head_at
        self._fed_bytes = 0
        self._complete(request)

    def _check_what_was_fed(self) -> None:
        if self.phase is Phase.IDLE:
            return
        if self.phase is Phase.HEAD:
            if self._fed_bytes > self._bounds.max_head_bytes:
                self._fail(HeadTooLarge(self._bounds.max_head_bytes))
        elif self._fed_bytes > self._bounds.max_body_bytes + self._bounds.max_discarded_bytes:
            self._give_up_body()

    def _check_head_size(self) -> None:
        most_bytes = self._bounds.max_head_bytes
        # The exact sum is computed only if this cheap upper bound exceeds the limit.
        if self._fed_bytes + self._last_fed_bytes > most_bytes:
            head_bytes = len(self._url) + sum(
                len(name) + len(value) + 4 for name, value in self._pairs
            )
            if head_bytes > most_bytes:
                raise HeadTooLarge(most_bytes)

    def _begin_body(self, request: HttpRequest, declared_bytes: int) -> None:
        self._head_at = self._clock()
        self.phase = Phase.BODY
        is_too_large = declared_bytes > self._bounds.max_body_bytes
        if is_too_large:
            self.phase = Phase.DISCARDING
        if request.headers.get("expect", "").lower() == "100-continue":
            if is_too_large:
                self._give_up_body()
                raise _Stop
            self.awaits_continue = True

    def _complete(self, request: HttpRequest) -> None:
        self.awaits_continue = False
        self.phase = Phase.IDLE
        self.is_over = request.is_last
        self.requests.append(request)

    def _give_up_body(self) -> None:
        """Answers the request before its body has ended; nothing is read after it."""
        request = self._request
        assert request is not None, "a body has a head"
        request.is_too_large = request.is_last = True
        self._complete(request)

    def _fail(self, error: MeshError) -> None:
        self.failure = error
        self.is_over = True
        self._chunks.clear()
