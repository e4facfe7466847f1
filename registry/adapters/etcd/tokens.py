"""The token with which calls to etcd name their user, obtained by the user's password.

All members know a token, but each forgets it five minutes after its last use there, and all do when
the user's password changes. So a call that a member refuses for its token is sent again with a new
one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc

from protos.etcd.v3 import etcd_pb2 as pb

Metadata = tuple[tuple[str, str], ...]
TOKEN = "token"

_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT)
"""What etcd answers to a token that is unknown, missing, or older than the last change of users."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of etcd. A `str` of it does not contain the password."""

    name: str
    password: str = field(repr=False)


class Tokens:
    """The current token of a user; without a user calls have none. For one event loop."""

    def __init__(self, user: User | None) -> None:
        self._user = user
        self._token = ""
        self._lock = asyncio.Lock()

    async def metadata(
        self, authenticate: Callable[[pb.AuthenticateRequest], Awaitable[pb.AuthenticateResponse]]
    ) -> Metadata:
        """The metadata of a call. `authenticate` asks a member for a token if there is none; its
        errors are raised. Concurrent calls ask once."""
        if self._user is None:
            return ()
        async with self._lock:
            if not self._token:
                request = pb.AuthenticateRequest(name=self._user.name, password=self._user.password)
                self._token = (await authenticate(request)).token
            return ((TOKEN, self._token),)

    @property
    def current(self) -> Metadata:
        """The metadata of the last token."""
        return ((TOKEN, self._token),) if self._token else ()

    def refused(self, used: Metadata, error: grpc.aio.AioRpcError) -> None:
        """Forgets the token of a call that failed, if the failure may be its fault."""
        if error.code() in _REFUSALS and used == self.current:
            self._token = ""
