"""Entity tags and conditional requests. Pure.

A client or a cache that has an answer sends the answer's ETag in If-None-Match, and gets 304
without a body if nothing has changed. Source: RFC 9110, 8.8.3 and 13.

The tag is a hash of the body, so every gateway gives an answer the same tag.
"""

import re
from hashlib import blake2b

from gateway_http.errors import PreconditionFailed
from gateway_http.exchange import Headers, Response

ETAG = "etag"
IF_MATCH, IF_NONE_MATCH = "if-match", "if-none-match"
_NOT_MODIFIED = 304
_TAG_BYTES = 16
_TAG = re.compile(r'(W/)?("[^"]*")')


def entity_tag(body: bytes) -> str:
    """The strong entity tag of a body, in quotes."""
    return f'"{blake2b(body, digest_size=_TAG_BYTES).hexdigest()}"'


def conditional(headers: Headers, response: Response) -> Response:
    """The answer to a GET or HEAD with these headers, whose answer without conditions is
    `response`: `response`, or 304 without a body. Its ETag is compared; without one there are no
    conditions. Raises PreconditionFailed if If-Match excludes it."""
    if IF_NONE_MATCH not in headers and IF_MATCH not in headers:
        return response
    tag = next((value for name, value in response.headers if name == ETAG), None)
    if tag is None:
        return response
    if IF_MATCH in headers and not _names(headers, IF_MATCH, tag, is_weak_enough=False):
        raise PreconditionFailed
    if IF_NONE_MATCH in headers and _names(headers, IF_NONE_MATCH, tag, is_weak_enough=True):
        return Response(_NOT_MODIFIED, b"", response.content_type, response.headers)
    return response


def _names(headers: Headers, name: str, tag: str, *, is_weak_enough: bool) -> bool:
    """Whether the header is `*` or names the tag. `is_weak_enough` compares weakly: W/ does not
    count. What is no entity tag is ignored."""
    written = ",".join(headers.get_all(name))
    if written == tag or written.strip() == "*":
        return True
    return any(
        opaque == tag and (is_weak_enough or not weak) for weak, opaque in _TAG.findall(written)
    )
