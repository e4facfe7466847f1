"""The dispatcher: every call of a server passes through it, from a lane or from unary gRPC.

It finds the method, checks the bound of its kind of work, authenticates the caller, decodes the
request, runs the method within its deadline, and encodes the response, in this order. Only
MeshError leaves it; any other exception is logged and becomes INTERNAL with the trace id only.
Refusals for overload are counted and not logged, since there may be thousands a second.

If a request has an idempotency key field and it is empty, the dispatcher fills in a new key.
Errors have the key in their metadata, so that the caller can repeat the call; only a refusal
for overload, which comes before the request is decoded, has none.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
from google.protobuf.message import DecodeError

from mesh.calls import CLIENT_ADDRESS, REQUEST_ID, TRACEPARENT, Metadata, is_fit_request_id
from mesh.contract.access import Rule
from mesh.contract.idempotency import IDEMPOTENCY_KEY, is_fit_key, new_key
from mesh.contract.method_config import BOUNDS, WorkKind
from mesh.contract.methods import Method
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
from mesh.serving.callers import CallerBounds
from mesh.serving.streams import STREAM_BOUNDS, StreamSlots
from mesh.tracing import begin_trace

Gate = Callable[[Deadline, int], None]
"""Takes a call's deadline and the number of calls of its kind that run already. Raises
Overloaded if there is no room, and DeadlineExceeded if the deadline is too short to start."""
log = structlog.get_logger()


class Call(NamedTuple):
    """The context of a call, passed to the method with the request."""

    path: str
    identity: Identity
    deadline: Deadline
    trace_id: str
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
        stream_bounds: CallerBounds = STREAM_BOUNDS,
        gates: Mapping[WorkKind, Gate] = MappingProxyType({}),
        count_refusal: Callable[[WorkKind], None] = lambda kind: None,
    ) -> None:
        """`bounds` is the number of concurrent calls of each kind, `stream_bounds` that of the
        open streams of each method; `gates` are further checks
        of a kind; `count_refusal` is called for every call refused for want of room. Raises
        BadRule for a method without an access rule."""
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
        self._stream_bounds = stream_bounds
        self._all_slots: list[StreamSlots] = []
        self._slots = {
            path: self.stream_slots() for path, method in self._methods.items() if method.streams
        }

    def find(self, path: str) -> Method | None:
        """The method with that gRPC path; None if this server has none."""
        return self._methods.get(path)

    async def authenticate(self, metadata: Metadata, rule: Rule) -> Identity:
        """The identity of the opener of a lane; see `mesh.identity.auth.Authenticator`."""
        return await self._authenticator.authenticate(metadata, rule)

    async def is_member(self, metadata: Metadata) -> bool:
        """Whether the caller is a member; see `mesh.identity.auth.Authenticator`."""
        return await self._authenticator.is_member(metadata)

    def stream_slots(self) -> StreamSlots:
        """Slots for a kind of streams that the dispatcher does not run itself."""
        slots = StreamSlots(self._authenticator.is_member, self._stream_bounds)
        self._all_slots.append(slots)
        return slots

    def end_streams(self) -> None:
        """Ends all open streams, also those in slots of `stream_slots`."""
        for slots in self._all_slots:
            slots.end_all()

    async def handle(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Runs one unary call. Raises only MeshError, and CancelledError when cancelled."""
        method = self._known(path)
        kind = method.config.work_kind
        bulkhead, gate = self._bulkheads[kind], self._gates.get(kind)
        try:
            bulkhead.enter()
        except Overloaded as error:
            error.metadata["method"] = path
            raise
        trace_id, key = begin_trace(metadata.get(TRACEPARENT, "")), ""
        try:
            if gate is not None:
                gate(deadline, bulkhead.running_count - 1)
            decoded, call = await self._prepare(method, request, metadata, deadline, trace_id)
            if method.takes_key:
                key = _key_of(decoded)
            answer = await within(deadline, method.function(decoded, call))
            return method.encode(answer)
        except Overloaded as error:
            self._count_refusal(kind)
            error.metadata["method"] = path
            raise
        except Exception as error:
            raise _as_mesh_error(error, path, _ids(metadata, trace_id), key) from error
        finally:
            bulkhead.leave()

    async def stream(
        self, path: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> AsyncIterator[bytes]:
        """Runs one server-streaming call. The deadline does not end the stream. Raises as
        `handle` does."""
        method = self._known(path)
        trace_id = begin_trace(metadata.get(TRACEPARENT, ""))
        async with self._slots[path].slot(metadata):
            try:
                decoded, call = await self._prepare(method, request, metadata, deadline, trace_id)
                async for answer in method.function(decoded, call):
                    yield method.encode(answer)
            except Exception as error:
                raise _as_mesh_error(error, path, _ids(metadata, trace_id)) from error

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
        trace_id: str,
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
            trace_id,
            metadata.get(CLIENT_ADDRESS, ""),
        )
        return decoded, call


def _ids(metadata: Metadata, trace_id: str) -> Mapping[str, str]:
    """The ids for the call's log lines; the caller's request id only if it is valid."""
    request_id = metadata.get(REQUEST_ID, "")
    named = {"request_id": request_id} if is_fit_request_id(request_id) else {}
    return {"trace_id": trace_id, **named}


def _key_of(request: Any) -> str:
    """The request's idempotency key. Fills in a new key if it is empty. Empty if the key is
    malformed."""
    if not request.idempotency_key:
        request.idempotency_key = new_key()
    key: str = request.idempotency_key
    return key if is_fit_key(key) else ""


def _as_mesh_error(error: Exception, path: str, ids: Mapping[str, str], key: str = "") -> MeshError:
    """Logs an error and returns the error for the caller."""
    mesh_error = _logged(error, path, ids)
    if key:
        mesh_error.metadata[IDEMPOTENCY_KEY] = key
    return mesh_error


def _logged(error: Exception, path: str, ids: Mapping[str, str]) -> MeshError:
    if isinstance(error, TimeoutError):
        error = DeadlineExceeded("The call's deadline has passed; repeat it to learn the outcome.")
    if isinstance(error, NoKeysYet):
        error.metadata["method"] = path
    if isinstance(error, MeshError):
        log.info("refuse_call", method=path, reason=error.reason, **ids)
        return error
    log.error("fail_call", method=path, exc_info=error, **ids)
    return Internal.of_trace(ids["trace_id"])
