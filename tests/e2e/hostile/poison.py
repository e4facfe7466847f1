"""Harmful requests, directly over gRPC or through the gateway.

Their answers do not matter here, only that other callers are not affected.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx

from mesh.lanes.limits import EXCHANGE
from proof.clients.client import ACCOUNT, GACHA
from proof.players import unique_name
from protos.account.v1 import account_pb2

GET_CURRENCY = f"/{ACCOUNT}/GetCurrency"
PULL = f"/{GACHA}/Pull"
HOLD_SECONDS = 1.0
"""How long what is never finished stays open."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@dataclass(frozen=True, slots=True)
class Target:
    """The targets of the pills: the gateway, and an instance of each service."""

    http: httpx.AsyncClient
    gateway: str
    account: grpc.aio.Channel
    gacha: grpc.aio.Channel
    account_address: str
    token: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


Pill = Callable[[Target], Awaitable[object]]


def posted(path: str, body: bytes, **headers: str) -> Pill:
    """Posts a body to the gateway as a player."""

    async def send(target: Target) -> None:
        with suppress(httpx.TransportError):
            await target.http.post(path, content=body, headers=target.headers | headers)

    return send


def written(text: bytes, *, holds: bool = False) -> Pill:
    """Writes bytes to the gateway's port; $TOKEN is replaced by a player's token."""

    async def send(target: Target) -> None:
        address = urlsplit(target.gateway).netloc
        await _write(address, text.replace(b"$TOKEN", target.token.encode()), holds=holds)

    return send


def written_to_service(data: bytes) -> Pill:
    """Writes bytes to the port of a service."""

    async def send(target: Target) -> None:
        await _write(target.account_address, data, holds=False)

    return send


def called(
    path: str,
    request: bytes,
    *,
    timeout_seconds: float = 10.0,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
) -> Pill:
    """Makes a unary gRPC call as a player."""

    async def send(target: Target) -> None:
        channel = target.gacha if path.startswith(f"/{GACHA}") else target.account
        method: Any = channel.unary_unary(path)
        with suppress(grpc.aio.AioRpcError):
            await method(request, timeout=timeout_seconds, metadata=(*target.metadata, *metadata))

    return send


async def cancelled_call(target: Target) -> None:
    """Makes a call, and cancels it a moment later."""
    method: Any = target.gacha.unary_unary(PULL)
    call = method(b"", metadata=target.metadata)
    await asyncio.sleep(0.002)
    call.cancel()
    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call


async def cancelled_request(target: Target) -> None:
    """Pulls through the gateway, and disconnects before the answer."""
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(0.004):
            await target.http.post("/gacha/pull/standard", headers=target.headers)


async def unending_call(target: Target) -> None:
    """Starts a call whose request never arrives."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(HOLD_SECONDS)
        return
        yield

    call: Any = target.account.stream_unary(GET_CURRENCY)
    # A call whose request is not complete ends as if it had been cancelled.
    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call(nothing(), metadata=target.metadata, timeout=HOLD_SECONDS)


async def strangers_lane(target: Target) -> None:
    """Opens a lane as a player."""
    call: Any = target.account.stream_stream(EXCHANGE)(metadata=target.metadata)
    with suppress(grpc.aio.AioRpcError):
        await call.write(b"\xff" * 100)
        await call.read()
    call.cancel()


def nobodys_login() -> dict[str, str]:
    """Logs in with an unused name without earlier failures, so that it need not wait."""
    return {"username": unique_name("nobody"), "password": "x" * 20}


async def login_at_once(target: Target) -> None:
    """Logs in together with many more logins than are served."""
    with suppress(httpx.TransportError):
        await target.http.post("/login", json=nobodys_login())


async def login_without_time(target: Target) -> None:
    """Logs in with too short a deadline to hash the password."""
    with suppress(httpx.TransportError):
        await target.http.post("/login", json=nobodys_login(), headers={"grpc-timeout": "10m"})


def purchase(payment_method: str) -> Pill:
    """Makes a purchase that the provider answers late or not at all."""
    body = json.dumps({"amount": 1, "paymentMethod": payment_method}).encode()
    headers = {"grpc-timeout": "300m", "content-type": "application/json"}
    return posted("/buy-currency", body, **headers)


async def _write(address: str, data: bytes, *, holds: bool) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        await writer.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS if holds else 0.05):
                while await reader.read(65536):
                    pass
        writer.close()


def _literal(name: bytes, value: bytes) -> bytes:
    """A literal HPACK header (RFC 7541, 6.2.2); name and value below 127 bytes."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def _odd_request_id() -> bytes:
    """Makes a call whose request id cannot be returned in metadata."""
    headers = b"".join(
        _literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", GET_CURRENCY.encode()),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"x-request-id", b"\xff\xfe\x80odd"),
        )
    )
    frame = len(headers).to_bytes(3, "big") + bytes([1, 4, 0, 0, 0, 1]) + headers
    body = bytes([0, 0, 5, 0, 1, 0, 0, 0, 1]) + bytes(5)
    return HTTP2_PREFACE + frame + body


_LOGIN = account_pb2.LoginRequest(username="x" * 200_000, password="y" * 200_000)
_HEAD = b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"

PILLS: dict[str, Pill] = {
    "a body above the bound": posted("/login", b"x" * 1_000_000),
    "a body that is no UTF-8": posted("/login", b'{"username": "\xff\xfe"}'),
    "half a surrogate pair": posted("/login", b'{"username": "\\ud800", "password": "\\udfff"}'),
    "deep arrays": posted("/login", b"[" * 60_000),
    "deep objects": posted("/login", b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "a number without end": posted("/buy-currency", b'{"amount": ' + b"9" * 60_000 + b"}"),
    "header bytes that are no text": written(
        b"GET /currency HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\x80\r\n"
        b"x-request-id: \xff\r\ntraceparent: \x80\r\n\r\n"
    ),
    "huge headers": written(
        b"GET /currency HTTP/1.1\r\nhost: x\r\nx-pad: " + b"x" * 60_000 + b"\r\n\r\n"
    ),
    "a body that never ends": written(_HEAD + b"content-length: 1000\r\n\r\n{", holds=True),
    "chunks that never end": written(
        _HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", holds=True
    ),
    "no time through the gateway": posted("/gacha/pull/standard", b"", **{"grpc-timeout": "1m"}),
    "a client that goes away": cancelled_request,
    "a provider that is away": purchase("card_unavailable"),
    "a provider that is slow": purchase("card_slow"),
    "a provider that drops its reply": purchase("card_drop_reply"),
    "many logins at once": login_at_once,
    "logins without time": login_without_time,
    "a message above the bound": called(PULL, b"\x0a" * 5_000_000),
    "bytes that are no message": called(GET_CURRENCY, b"\xff\xff\xff\xff"),
    "a text that is no UTF-8": called(f"/{ACCOUNT}/Login", b"\x0a\x02\xff\xfe"),
    "groups within groups": called(PULL, b"\x0b" * 100_000),
    "fields that are too long": called(f"/{ACCOUNT}/Login", _LOGIN.SerializeToString()),
    "huge metadata": called(GET_CURRENCY, b"", metadata=(("x-pad", "x" * 30_000),)),
    "binary metadata": called(GET_CURRENCY, b"", metadata=(("x-odd-bin", b"\xff" * 2000),)),
    "a long request id": called(GET_CURRENCY, b"", metadata=(("x-request-id", "x" * 8000),)),
    "no time over gRPC": called(PULL, b"\x0a\x08standard", timeout_seconds=0.001),
    "a method that is not there": called(f"/{GACHA}/PullForFree", b""),
    "a call that is cancelled": cancelled_call,
    "a request that never comes": unending_call,
    "a stranger's lane": strangers_lane,
    "garbage at a service's port": written_to_service(b"\xff" * 1000),
    "garbage after the preface": written_to_service(HTTP2_PREFACE + b"\xff" * 1000),
    "a request id that is no text": written_to_service(_odd_request_id()),
}
"""By what is wrong with each."""
