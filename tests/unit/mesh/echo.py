"""A small real server, in this process or in one of its own, that does what each request says.

`python -m tests.unit.mesh.echo LISTEN KEY_FILE WORD [TLS_DIRECTORY]` serves until it is
killed, and prints its port. With a WORD that is not empty it does that whatever it is asked.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.calling.transport import Transport
from mesh.calling.unary import UnaryTransport
from mesh.calls import AUTHORIZATION
from mesh.contract.access import OF_PLAYERS, Rule, of_services
from mesh.contract.methods import Method
from mesh.contract.terms import WorkKind
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
from mesh.identity.auth import PLAYER_AUDIENCE, Authenticator, TokenSigner
from mesh.identity.keys import fixed_keys, fixed_service_keys, load_private_key
from mesh.identity.service_identity import ServiceIdentity
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
    """The implementation, and what it has seen."""

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
            raise LookupError("secret of the house")
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
) -> Server:
    def method(path: str, rule: Rule) -> Method:
        return Method(path, rule, False, bytes, echo.answer, bytes)

    keys = fixed_keys(key.public_key())
    service_keys = fixed_service_keys({"gacha_svc": key.public_key()})
    dispatcher = Dispatcher(
        [
            method(ECHO, OF_GACHA),
            method(PLAYERS_ECHO, OF_PLAYERS),
            method(READ, OF_GACHA),
            Method(STREAM, OF_GACHA, True, bytes, echo.stream, bytes),
        ],
        Authenticator(player_keys=keys, service_keys=service_keys),
        bounds=dict.fromkeys(WorkKind, max_calls_of_a_kind),
    )
    return Server(listen, (), dispatcher, _always_ready, security=security)


async def _always_ready() -> bool:
    return True


class Callers:
    """Those who may call, by one key and, with `tls_directory`, by the certificate in it."""

    def __init__(self, tls_directory: Path | None = None) -> None:
        self.tls_directory = tls_directory
        self.security = security_from(tls_directory)
        self.key = Ed25519PrivateKey.generate()
        self.identity = ServiceIdentity(self.key, "gacha_svc")
        self.metadata = dict(self.identity.metadata())

    def player_metadata(self) -> dict[str, str]:
        token = TokenSigner(self.key, PLAYER_AUDIENCE, 60).sign(USER_ID)
        return {AUTHORIZATION: f"Bearer {token}"}

    def transport(self, kind: str, closing_grace_seconds: float = 0.1) -> Transport:
        """A "unary" one or a "lane" one."""
        if kind == "unary":
            return UnaryTransport(
                security=self.security, closing_grace_seconds=closing_grace_seconds
            )
        return LaneTransport(
            self.identity.token, security=self.security, closing_grace_seconds=closing_grace_seconds
        )


def security_from(tls_directory: Path | None) -> Security:
    if tls_directory is None:
        return PLAIN
    return MutualTls(Certificates(TlsFiles.in_directory(tls_directory)))


class EchoProcess:
    """The server in a process of its own, to be killed and frozen."""

    def __init__(
        self, callers: Callers, folder: Path, listen: str = "127.0.0.1:0", word: str = ""
    ) -> None:
        key_file = folder / "service.pem"
        key_file.write_bytes(
            callers.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        command = [sys.executable, "-m", __name__, listen, str(key_file), word]
        if callers.tls_directory is not None:
            command.append(str(callers.tls_directory))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def _serve(key: Ed25519PrivateKey, listen: str, word: str, tls_directory: str = "") -> None:
    security = security_from(Path(tls_directory)) if tls_directory else PLAIN
    server = echo_server(key, Echo(word=word.encode()), listen, security=security)
    await server.start()
    print(server.port, flush=True)  # noqa: T201 (what the starter reads)
    await asyncio.Event().wait()


if __name__ == "__main__":
    listen, key_file, *rest = sys.argv[1:]
    uvloop.run(_serve(load_private_key(Path(key_file).read_bytes()), listen, *rest))
