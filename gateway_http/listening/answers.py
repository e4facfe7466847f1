"""The bytes of an answer on an HTTP/1.1 connection. Pure."""

from http import HTTPStatus

from gateway_http.exchange import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WITHOUT_BODY = frozenset({204, 304})
_PHRASES = {**{each.value: each.phrase for each in HTTPStatus}, 499: "Client Closed Request"}
_STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase}\r\n" for status, phrase in _PHRASES.items()}


def answer_bytes(response: Response, date: str, *, closes: bool, with_body: bool = True) -> bytes:
    """The head and, if `with_body`, the body. `date` is the value of the Date header. `closes`
    says that the connection closes after it. Raises KeyError for a status without a phrase."""
    status = response.status
    lines = [_STATUS_LINES[status], f"date: {date}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers]
    if status not in WITHOUT_BODY:
        lines.append(f"content-type: {response.content_type}\r\n")
        lines.append(f"content-length: {len(response.body)}\r\n")
    lines.append("connection: close\r\n\r\n" if closes else "\r\n")
    head = "".join(lines).encode("latin-1")
    return head + response.body if with_body else head
