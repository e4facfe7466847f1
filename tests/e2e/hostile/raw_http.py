"""Sends HTTP requests that httpx would not send."""

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from proof.stack import Mesh

TIMEOUT_SECONDS = 20


class RawResponse(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> Any:
        """The parsed body. Fails unless it is JSON."""
        return json.loads(self.body)


def send(
    mesh: Mesh,
    verb: str,
    target: str,
    headers: Mapping[str, str] | None = None,
) -> RawResponse:
    """Sends a request with an unchanged target and header values in latin-1."""
    host = urlsplit(mesh.gateway).netloc
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(verb, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return RawResponse(response.status, names, response.read())
    finally:
        connection.close()
