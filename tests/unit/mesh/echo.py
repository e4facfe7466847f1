"""A small real server in this process; each request says what it does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.calling.unary import UnaryTransport
from mesh.calls import AUTHORIZATION
from mesh.contract.access import OF_PLAYERS, Rule, of_services
from mesh.contract.method_config import WorkKind
from mesh.contract.methods import Method
from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    ResourceExhausted,
    Unavailable,
)
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.lanes.transport import LaneTransport
from mesh.process.server import Server
from mesh.serving.dispatch import Call, Dispatcher
from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles
from mesh.tls.security import PLAIN, MutualTls, Security

ECHO = "/echo.v1.EchoService/Echo"
PLAYERS_ECHO = "/echo.v1.EchoService/PlayersEcho"
STREAM = "/echo.v1.EchoService/Stream"
READ = "/account.v1.AccountService/GetCurrency"
"""Borrowed from a proto, which says that it may be repeated."""
SLOW_SECONDS = 3.0
USER_ID = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
OF_GACHA = of_services(["gacha_svc"])
REFUSAL = FailedPrecondition(
    "Too poor.",
    reason="POOR",
    metadata={"gems": "1", "wanted": "160"},
    fields=(FieldViolation("amount", "must be at most 1"),),
    retry_after_seconds=1.5,
)
ERRORS: dict[bytes, MeshError] = {
    b"unavailable": Unavailable("away"),
    b"deadline": DeadlineExceeded("too late"),
    b"internal": Internal("a bug"),
    b"exhausted": ResourceExhausted("too much"),
    b"overloaded": Overloaded("no room", retry_after_seconds=1.0),
}


@dataclass
class Echo:
    """The implementation, and the calls that it has seen."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)
    word: bytes = b""
    """What is done instead of what a request says."""

    async def answer(self, request: bytes, call: Call) -> bytes:
        self.calls.append(call)
        request = self.word or request
        word, _, argument = request.partition(b" ")
        if word in ERRORS:
            raise ERRORS[word]
        if word == b"slow":
            await asyncio.sleep(SLOW_SECONDS)
        if word == b"refuse":
            raise REFUSAL
        if word == b"fail":
            raise LookupError("secret of the server")
        if word == b"lose-itself":
            raise asyncio.CancelledError
        if word == b"wait":
            await self._wait()
        if word == b"echo-error":
            text = "\N{FIRE}\udc80" * int(argument)
            raise InvalidArgument(text, reason="ECHO", metadata={"field": text})
        if word == b"large":
            return b"x" * int(argument)
        return b"echo " + request

    async def stream(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        yield request

    async def _wait(self) -> None:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def echo_server(
    key: Ed25519PrivateKey,
    echo: Echo,
    listen: str = "127.0.0.1:0",
    max_calls_of_a_kind: int = 1024,
    security: Security = PLAIN,
    **bounds: Any,
) -> Server:
    """`bounds` are those of the server."""
    dispatcher = echo_dispatcher(key, echo, max_calls_of_a_kind)
    return Server(listen, (), dispatcher, _always_ready, security=security, **bounds)


def echo_dispatcher(
    key: Ed25519PrivateKey, echo: Echo, max_calls_of_a_kind: int = 1024
) -> Dispatcher:
    def method(path: str, rule: Rule) -> Method:
        return Method(path, rule, False, bytes, echo.answer, bytes)

    keys = fixed_keys(key.public_key())
    service_keys = fixed_service_keys({"gacha_svc": key.public_key()})
    return Dispatcher(
        [
            method(ECHO, OF_GACHA),
            method(PLAYERS_ECHO, OF_PLAYERS),
            method(READ, OF_GACHA),
            Method(STREAM, OF_GACHA, True, bytes, echo.stream, bytes),
        ],
        Authenticator("echo_svc", player_keys=keys, service_keys=service_keys),
        bounds=dict.fromkeys(WorkKind, max_calls_of_a_kind),
    )


async def _always_ready() -> bool:
    return True


class Callers:
    """The allowed callers: by one key and, with `tls_directory`, by the certificate in it."""

    def __init__(self, tls_directory: Path | None = None) -> None:
        self.tls_directory = tls_directory
        self.security = security_from(tls_directory)
        self.key = Ed25519PrivateKey.generate()
        self.credential = ServiceIdentity(self.key, "gacha_svc").towards("echo_svc")
        self.metadata = dict(self.credential.metadata())

    def player_metadata(self) -> dict[str, str]:
        token = TokenSigner(self.key, PLAYER_AUDIENCE, 60).sign(USER_ID, sid=USER_ID)
        return {AUTHORIZATION: f"Bearer {token}"}

    def transport(
        self, kind: str, closing_grace_seconds: float = 0.1
    ) -> UnaryTransport | LaneTransport:
        """A transport of the kind "unary" or "lane"."""
        if kind == "unary":
            return UnaryTransport(
                security=self.security, closing_grace_seconds=closing_grace_seconds
            )
        return LaneTransport(
            self.credential.token,
            security=self.security,
            closing_grace_seconds=closing_grace_seconds,
        )


def security_from(tls_directory: Path | None) -> Security:
    if tls_directory is None:
        return PLAIN
    return MutualTls(Certificates(TlsFiles.in_directory(tls_directory)))
