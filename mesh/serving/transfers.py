"""Requests on their way in and answers on their way out: bounds in number and time.

gRPC's server waits for a request without a limit, and holds an answer for as long as its client
likes. Guarantees: a request has `request_seconds` to arrive and an answer `answer_seconds` to be
read. Both have places, and an answer has one for each 64 KiB. A caller takes a place of its address
first. Members of the mesh have places of their own beside these (`mesh.serving.callers`).

A stranger who finds no place gets that of another (`mesh.serving.places`): of a request that has
not arrived, which is then refused, or of an answer that was not read for `ripe_seconds`, whose
connection then ends. If there is none, the call is refused before its request is read. While a
method runs, its call has no place here; `mesh.serving.bulkheads` bounds those.

A method is served as if its request were a stream, so that it gets control before the request is
there. On the wire that is the same.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from mesh.addresses import site_of
from mesh.calls import AUTHORIZATION, CLIENT_ADDRESS, Metadata
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, ResourceExhausted
from mesh.serving.callers import MEMBER, Caller, CallerBounds
from mesh.serving.contexts import abort, metadata_of
from mesh.serving.places import Places

PLACE_BYTES = 64 * 1024
RETRY_SECONDS = 1.0

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class TooManyTransfers(ResourceExhausted):
    """There is no place for this request."""

    REASON = "TOO_MANY_UNFINISHED_CALLS"

    def __init__(self, max_places: int, whose: str) -> None:
        super().__init__(
            f"Requests that have not arrived and answers that were not read by {whose} take all "
            f"of their {max_places} places.",
            retry_after_seconds=RETRY_SECONDS,
        )


class RequestLate(DeadlineExceeded):
    """The request did not arrive in time; nothing was done."""

    REASON = "REQUEST_LATE"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request did not arrive within {seconds:g} seconds.")


@dataclass(frozen=True, slots=True)
class TransferBounds:
    """The bounds of one server; see the module."""

    places: CallerBounds
    request_seconds: float = 10.0
    answer_seconds: float = 10.0
    ripe_seconds: float = 1.0


TRANSFER_BOUNDS = TransferBounds(CallerBounds(members=2_048, strangers=512, address=256))
HEALTH_BOUNDS = TransferBounds(CallerBounds(members=256, strangers=256, address=64))
"""Of health checks alone, so that other calls do not make a server look unhealthy."""


@dataclass(slots=True, eq=False)
class _Arriving:
    """A request on its way. It may give up its place at any time, and is then refused."""

    limit: asyncio.Timeout
    refusal: TooManyTransfers | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Unread:
    """An answer on its way, and when it is ripe to give up its places, and when it is late."""

    context: Any
    ripe: float
    due: float


_Holding = _Arriving | _Unread


class Transfers:
    """The requests and answers on their way to and from one server."""

    def __init__(
        self,
        is_member: Callable[[Metadata], Awaitable[bool]],
        bounds: TransferBounds = TRANSFER_BOUNDS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_member` returns whether metadata has a token of the mesh."""
        self._is_member = is_member
        self._bounds = bounds
        self._clock = clock
        self._places: Places[_Holding] = Places(bounds.places)
        self._unread: dict[Any, _Unread] = {}
        self._given_up: set[_Unread] = set()

    def unary(
        self,
        function: Callable[[Request, Any, Metadata], Awaitable[Answer]],
        decode: Callable[[bytes], Request],
        encode: Callable[[Answer], bytes],
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Serves a method with one request and one answer. `function` gets the request, gRPC's
        context and the metadata, and may raise MeshError."""

        async def serve(_requests: Any, context: Any) -> bytes:
            metadata = metadata_of(context)
            try:
                request, caller = await self._receive(context, metadata, decode)
                answer = encode(await function(request, context, metadata))
            except MeshError as error:
                await abort(context, error, metadata)
                raise
            self._follow(context, caller, len(answer))
            return answer

        return grpc.stream_unary_rpc_method_handler(serve)

    def streaming(
        self,
        function: Callable[[Request, Any, Metadata], AsyncIterator[Answer]],
        decode: Callable[[bytes], Request],
        encode: Callable[[Answer], bytes],
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Serves a method with one request and a stream of answers, which `function` bounds."""

        async def serve(_requests: Any, context: Any) -> AsyncIterator[bytes]:
            metadata = metadata_of(context)
            try:
                request, _ = await self._receive(context, metadata, decode)
                async for answer in function(request, context, metadata):
                    yield encode(answer)
            except MeshError as error:
                await abort(context, error, metadata)

        return grpc.stream_stream_rpc_method_handler(serve)

    def late_peers(self) -> list[str]:
        """The peers, as gRPC names them, that have not read an answer in time, or whose answer
        gave up its places. gRPC offers no other end for such a call than that of its
        connection."""
        now = self._clock()
        late = [unread.context.peer() for unread in self._given_up]
        for unread in self._unread.values():
            if unread.due > now:
                break
            late.append(unread.context.peer())
        return late

    async def _receive(
        self, context: Any, metadata: Metadata, decode: Callable[[bytes], Request]
    ) -> tuple[Request, Caller]:
        """Raises TooManyTransfers, RequestLate and InvalidArgument."""
        caller = await self._caller_with_a_place(metadata)
        message = await self._read(context, caller)
        if message is grpc.aio.EOF:
            raise InvalidArgument("The call has no message.", reason="MALFORMED_MESSAGE")
        try:
            return decode(message), caller
        except DecodeError as error:
            raise InvalidArgument(
                "The request is not a valid message.", reason="MALFORMED_MESSAGE"
            ) from error

    async def _read(self, context: Any, caller: Caller) -> Any:
        """The message, or EOF. Raises RequestLate, and TooManyTransfers if it gave up its place."""
        try:
            async with asyncio.timeout(self._bounds.request_seconds) as limit:
                arriving = _Arriving(limit)
                self._places.take(caller, arriving)
                try:
                    return await context.read()
                finally:
                    self._places.give_back(arriving)
        except TimeoutError:
            raise arriving.refusal or RequestLate(self._bounds.request_seconds) from None

    async def _caller_with_a_place(self, metadata: Metadata) -> Caller:
        """Looks at a token only when it is needed, since most callers find a place."""
        site = site_of(metadata[CLIENT_ADDRESS])
        if self._places.reached(site) is None:
            return site
        if AUTHORIZATION in metadata and await self._is_member(metadata):
            if (reached := self._places.reached(MEMBER)) is not None:
                raise TooManyTransfers(*reached)
            return MEMBER
        self._make_room(site)
        return site

    def _make_room(self, site: str) -> None:
        """Raises TooManyTransfers if nothing may give up its places now."""
        now = self._clock()
        while (reached := self._places.reached(site)) is not None:
            for holding in self._places.in_the_way_of(site):
                if isinstance(holding, _Arriving) or holding.ripe <= now:
                    self._give_up(holding, TooManyTransfers(*reached))
                    break
            else:
                raise TooManyTransfers(*reached)

    def _give_up(self, holding: _Holding, refusal: TooManyTransfers) -> None:
        self._places.give_back(holding)
        if isinstance(holding, _Unread):
            self._given_up.add(holding)
        elif not holding.limit.expired():
            holding.refusal = refusal
            holding.limit.reschedule(0.0)  # it is over at once

    def _follow(self, context: Any, caller: Caller, size_bytes: int) -> None:
        """Takes places for an answer until gRPC has passed it on or its connection has ended."""
        now = self._clock()
        unread = _Unread(
            context, now + self._bounds.ripe_seconds, now + self._bounds.answer_seconds
        )
        self._places.take(caller, unread, 1 + size_bytes // PLACE_BYTES)
        self._unread[context] = unread
        context.add_done_callback(self._forget)

    def _forget(self, context: Any) -> None:
        unread = self._unread.pop(context)
        self._places.give_back(unread)
        self._given_up.discard(unread)
