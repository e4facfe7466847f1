"""grpc.health.v1.Health: what a server says of itself (gRFC A17).

A client that does not read its stream delays nobody else. grpcio's own servicer holds a lock
while it writes to a watcher, so one such client would keep the state from ever changing.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from mesh.calls import Metadata
from mesh.serving.streams import StreamSlots
from mesh.serving.transfers import Transfers

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Response = health_pb2.HealthCheckResponse


class Health:
    """The state of each service, and the streams of those who watch it."""

    def __init__(self, slots: StreamSlots) -> None:
        """`slots` are for Watch."""
        self._slots = slots
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._is_leaving = False

    def set(self, service: str, *, is_serving: bool) -> None:
        """Sets the state of a service; the empty name is the server. Ignored after `leave`."""
        if not self._is_leaving:
            self._put(service, _Response.SERVING if is_serving else _Response.NOT_SERVING)

    def leave(self) -> None:
        """Makes every service NOT_SERVING for good. Idempotent."""
        self._is_leaving = True
        for service in self._statuses:
            self._put(service, _Response.NOT_SERVING)

    def handler(self, transfers: Transfers) -> grpc.GenericRpcHandler:
        """Serves Check and Watch."""
        decode = health_pb2.HealthCheckRequest.FromString
        encode = _Response.SerializeToString
        check = transfers.unary(self.check, decode, encode)
        watch = transfers.streaming(self.watch, decode, encode)
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": check, "Watch": watch})

    async def check(self, request: Any, context: Any, _metadata: Metadata) -> Any:
        """The state of a service; NOT_FOUND for an unknown one."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "This server has no such service.")
        return _Response(status=status)

    async def watch(self, request: Any, _context: Any, metadata: Metadata) -> AsyncIterator[Any]:
        """The state of a service now and after each change. A slow reader skips states."""
        async with self._slots.slot(metadata):
            async for status in self._changes(request.service):
                yield _Response(status=status)

    async def _changes(self, service: str) -> AsyncIterator[int]:
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(service, _Response.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield status
            await changed.wait()

    def _put(self, service: str, status: int) -> None:
        if self._statuses.get(service) != status:
            self._statuses[service] = status
            self._changed.set()
            self._changed = asyncio.Event()
