"""The players of a run: registered through REST like any other, each with gems enough.

Making one costs two password hashes, so they are made once and used at every point.
"""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx

from bench.errors import BenchFailed

GEMS = 1_000_000_000
PASSWORD = "a long password of the bench"
MAKERS = 4
TIMEOUT_SECONDS = 30.0


def make_players(gateway: str, trust: ssl.SSLContext | None, count: int) -> Iterator[str]:
    """The token of each, as it is made; `trust` believes the gateway's certificate. Raises
    BenchFailed."""
    with (
        httpx.Client(
            base_url=gateway, timeout=TIMEOUT_SECONDS, trust_env=False, verify=trust or True
        ) as client,
        ThreadPoolExecutor(MAKERS) as makers,
    ):
        yield from makers.map(lambda _: _make_player(client), range(count))


def _make_player(client: httpx.Client) -> str:
    name = f"bench-{uuid4().hex[:20]}"
    credentials = {"username": name, "password": PASSWORD}
    _post(client, "/register", credentials | {"email": f"{name}@example.com"})
    token = str(_post(client, "/login", credentials)["token"])
    _post(client, "/buy-currency", {"amount": GEMS, "paymentMethod": "credit_card"}, token)
    return token


def _post(
    client: httpx.Client, path: str, body: dict[str, object] | dict[str, str], token: str = ""
) -> dict[str, object]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = client.post(path, json=body, headers=headers)
    except httpx.TransportError as error:
        raise BenchFailed(f"POST {path} had no answer: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise BenchFailed(f"POST {path} was answered {answer.status_code}: {answer.text}")
    fields: dict[str, object] = answer.json()
    return fields
