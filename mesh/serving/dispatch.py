"""Where every call of a server goes through, whatever carried it.

In order: is there such a method, is there room for its kind of work, who is
calling, what is asked, the method itself within its deadline, and the answer's
encoding. Only a MeshError leaves; anything else is logged and becomes INTERNAL with
the request id and nothing more. What is refused for want of room is counted and not
logged, for there may be thousands of them a second.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from uuid import uuid4

import structlog
from google.protobuf.message import DecodeError

from mesh.calls import CLIENT_ADDRESS, REQUEST_ID, TRACEPARENT, Metadata, is_fit_request_id
from mesh.contract.access import Rule
from mesh.contract.methods import Method
from mesh.contract.terms import BOUNDS, WorkKind
from mesh.deadlines import Deadline, within
from mesh.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    NoKeysYet,
    Overloaded,
    Unimplemented,
)
from mesh.identity.auth import Authenticator, Identity, Player, Service
from mesh.serving.bulkheads import Bulkhead

MAX_STREAMS = 2048
"""On one server; whoever serves a stream has a closer bound."""

Gate = Callable[[Deadline, int], None]
"""Is told of a call's deadline and how many calls of its kind are under way before it.
Raises Overloaded when there is no room, and DeadlineExceeded when a call with that
deadline had better not be begun."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows of the call beside its request."""

    path: str
    identity: Identity
    deadline: Deadline
    request_id: str
    traceparent: str
    client_address: str
    """As `mesh.calls.CLIENT_ADDRESS` has it."""

    @property
    def user_id(self) -> str:
        """The calling player. For methods whose access is PLAYER."""
        assert isinstance(self.identity, Player), f"{self.path} is not a player's method"
        return self.identity.user_id

    @property
    def service(self) -> str:
        """The calling service, or ADMIN; for methods whose access is SERVICE."""
        assert isinstance(self.identity, Service), f"{self.path} is not a service's method"
        return self.identity.name


class Dispatcher:
    """Runs the calls of one server."""

    def __init__(
        self,
        methods: Iterable[Method],
        authenticator: Authenticator,
        *,
        bounds: Mapping[WorkKind, int] = BOUNDS,
        gates: Mapping[WorkKind, Gate] = MappingProxyType({}),
        count_refusal: Callable[[WorkKind], None] = lambda kind: None,
    ) -> None:
        """`bounds` has the number of calls of each kind that run at once; `gates` say of a
        kind whether there is room, beside that; `count_refusal` is told of every call that
        finds none. Raises BadRule for a method that nobody could call."""
        self._methods = {method.path: method for method in methods}
        for method in self._methods.values():
            method.rule.check(method.path)
        self._authenticator = authenticator
        self._bulkheads = {
            kind: Bulkhead(bounds[kind], on_refusal=partial(count_refusal, kind))
            for kind in WorkKind
        }
        self._gates = dict(gates)
        self._count_refusal = count_refusal
        self._streams = Bulkhead(MAX_STREAMS)

    def find(self, path: str) -> Method | None:
        """The method of that gRPC path, if this server has it."""
        return self._methods.get(path)

    async def authenticate(self, metadata: Metadata, rule: Rule) -> Identity:
        """Who opens something that carries calls; see `mesh.identity.auth.Authenticator`."""
        return await self._authenticator.authenticate(metadata, rule)

    async def handle(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Runs one unary call. Raises MeshError alone, and CancelledError when cancelled."""
        method = self._known(path)
        kind = method.terms.work_kind
        bulkhead, gate = self._bulkheads[kind], self._gates.get(kind)
        _enter(bulkhead, path)
        request_id = request_id_of(metadata)
        try:
            if gate is not None:
                gate(deadline, bulkhead.running_count - 1)
            decoded, call = await self._prepare(method, request, metadata, deadline, request_id)
            answer = await within(deadline, method.function(decoded, call))
            return method.encode(answer)
        except Overloaded as error:
            self._count_refusal(kind)
            error.metadata["method"] = path
            raise
        except Exception as error:
            raise _told(error, path, request_id) from error
        finally:
            bulkhead.leave()

    async def stream(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> AsyncIterator[bytes]:
        """Runs one server-streaming call, which no deadline ends. Raises as `handle` does."""
        method = self._known(path)
        _enter(self._streams, path)
        request_id = request_id_of(metadata)
        try:
            decoded, call = await self._prepare(method, request, metadata, deadline, request_id)
            async for answer in method.function(decoded, call):
                yield method.encode(answer)
        except Exception as error:
            raise _told(error, path, request_id) from error
        finally:
            self._streams.leave()

    def _known(self, path: str) -> Method:
        method = self._methods.get(path)
        if method is None:
            raise Unimplemented(f"{path[:200]} is not served here.", reason="METHOD_UNKNOWN")
        return method

    async def _prepare(
        self,
        method: Method,
        request: bytes,
        metadata: Metadata,
        deadline: Deadline,
        request_id: str,
    ) -> tuple[object, Call]:
        path = method.path
        deadline.check()
        identity = await self._authenticator.authenticate(metadata, method.rule)
        try:
            decoded = method.decode(request)
        except DecodeError as error:
            raise InvalidArgument(
                f"The request is not a valid message of {path}.", reason="MALFORMED_MESSAGE"
            ) from error
        call = Call(
            path,
            identity,
            deadline,
            request_id,
            metadata.get(TRACEPARENT, ""),
            metadata.get(CLIENT_ADDRESS, ""),
        )
        return decoded, call


def _enter(bulkhead: Bulkhead, path: str) -> None:
    try:
        bulkhead.enter()
    except Overloaded as error:
        error.metadata["method"] = path
        raise


def request_id_of(metadata: Metadata) -> str:
    """The caller's request id if it is fit to be logged, otherwise a new one."""
    given = metadata.get(REQUEST_ID, "")
    return given if is_fit_request_id(given) else uuid4().hex


def _told(error: Exception, path: str, request_id: str) -> MeshError:
    """What the caller is told of an error, after it was logged."""
    if isinstance(error, TimeoutError):
        error = DeadlineExceeded("The call's deadline has passed; repeat it to learn the outcome.")
    if isinstance(error, NoKeysYet):
        error.metadata["method"] = path
    if isinstance(error, MeshError):
        log.info("refuse_call", method=path, request_id=request_id, reason=error.reason)
        return error
    log.error("fail_call", method=path, request_id=request_id, exc_info=error)
    return Internal(
        f"Something went wrong here; whoever runs this finds it by the request id {request_id}."
    )
