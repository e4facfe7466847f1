"""Where every call of a server goes through, whatever carried it.

In order: is there such a method, is there room, who is calling, what is asked,
the method itself within its deadline, and the answer's encoding. Only a
MeshError leaves; anything else is logged and becomes INTERNAL with the request
id and nothing more.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from uuid import uuid4

import structlog
from google.protobuf.message import DecodeError

from mesh.auth import Authenticator, Identity, Player, Service
from mesh.calls import REQUEST_ID, TRACEPARENT, Metadata
from mesh.deadlines import Deadline, within
from mesh.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    ResourceExhausted,
    Unimplemented,
)
from mesh.methods import Method
from mesh.rules import Rule

MAX_REQUEST_ID_LENGTH = 128
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows of the call beside its request."""

    path: str
    identity: Identity
    deadline: Deadline
    request_id: str
    traceparent: str

    @property
    def user_id(self) -> str:
        """The calling player. For methods whose access is PLAYER."""
        assert isinstance(self.identity, Player), f"{self.path} is not a player's method"
        return self.identity.user_id

    @property
    def service(self) -> str:
        """The calling service, or mesh.rules.ADMIN. For methods whose access is SERVICE."""
        assert isinstance(self.identity, Service), f"{self.path} is not a service's method"
        return self.identity.name


class Dispatcher:
    """Runs the calls of one server."""

    def __init__(
        self,
        methods: Iterable[Method],
        authenticator: Authenticator,
        *,
        max_concurrent_calls: int = 2048,
    ) -> None:
        """Raises BadRule for a method that nobody could call."""
        self._methods = {method.path: method for method in methods}
        for method in self._methods.values():
            method.rule.check(method.path)
        self._authenticator = authenticator
        self._max_concurrent_calls = max_concurrent_calls
        self._running_calls = 0

    def find(self, path: str) -> Method | None:
        """The method of that gRPC path, if this server has it."""
        return self._methods.get(path)

    async def authenticate(self, metadata: Metadata, rule: Rule) -> Identity:
        """Who opens something that carries calls; see `mesh.auth.Authenticator`."""
        return await self._authenticator.authenticate(metadata, rule)

    async def handle(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Runs one unary call. Raises MeshError alone, and CancelledError when cancelled."""
        request_id = request_id_of(metadata)
        self._enter(path)
        try:
            method, decoded, call = await self._prepare(
                path, request, metadata, deadline, request_id
            )
            answer = await within(deadline, method.function(decoded, call))
            return method.encode(answer)
        except Exception as error:
            raise _told(error, path, request_id) from error
        finally:
            self._running_calls -= 1

    async def stream(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> AsyncIterator[bytes]:
        """Runs one server-streaming call, which no deadline ends. Raises as `handle` does."""
        request_id = request_id_of(metadata)
        self._enter(path)
        try:
            method, decoded, call = await self._prepare(
                path, request, metadata, deadline, request_id
            )
            async for answer in method.function(decoded, call):
                yield method.encode(answer)
        except Exception as error:
            raise _told(error, path, request_id) from error
        finally:
            self._running_calls -= 1

    def _enter(self, path: str) -> None:
        if self._running_calls >= self._max_concurrent_calls:
            raise ResourceExhausted(
                "This server has as many calls as it can take; repeat the call in a moment.",
                reason="OVERLOADED",
                metadata={"method": path},
                retry_after_seconds=1.0,
            )
        self._running_calls += 1

    async def _prepare(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline, request_id: str
    ) -> tuple[Method, object, Call]:
        method = self._methods.get(path)
        if method is None:
            raise Unimplemented(f"{path} is not served here.", reason="METHOD_UNKNOWN")
        deadline.check()
        identity = await self._authenticator.authenticate(metadata, method.rule)
        try:
            decoded = method.decode(request)
        except DecodeError as error:
            raise InvalidArgument(
                f"The request is not a valid message of {path}.", reason="MALFORMED_MESSAGE"
            ) from error
        call = Call(path, identity, deadline, request_id, metadata.get(TRACEPARENT, ""))
        return method, decoded, call


def request_id_of(metadata: Metadata) -> str:
    """The caller's request id if it is fit to be logged, otherwise a new one."""
    given = metadata.get(REQUEST_ID, "")
    if 0 < len(given) <= MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return uuid4().hex


def _told(error: Exception, path: str, request_id: str) -> MeshError:
    """What the caller is told of an error, after it was logged."""
    if isinstance(error, TimeoutError):
        error = DeadlineExceeded("The call's deadline has passed; repeat it to learn the outcome.")
    if isinstance(error, MeshError):
        log.info("refuse_call", method=path, request_id=request_id, reason=error.reason)
        return error
    log.error("fail_call", method=path, request_id=request_id, exc_info=error)
    return Internal(
        f"Something went wrong here; whoever runs this finds it by the request id {request_id}."
    )
