"""One open stream of aggregated discovery: a session and its gRPC call.

Requests are handled as they are read, and not queued. A response is written only when gRPC has
accepted the previous one.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError

from mesh.errors import InvalidArgument
from registry.rpc.xds.resources import Resources
from registry.rpc.xds.session import Session

log = structlog.get_logger()


class Stream:
    """Serves one client until it disconnects or the process stops."""

    def __init__(self, context: Any, resources: Callable[[], Resources | None]) -> None:
        """`context` is the grpc.aio.ServicerContext of the stream, of raw bytes. `resources`
        returns the present ones, and None when there will be no more changes."""
        self._context = context
        self._resources = resources
        self._session = Session()
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Makes the stream send the changes, if any."""
        self._changed.set()

    async def run(self) -> None:
        """Raises InvalidArgument when the client breaks the protocol."""
        tasks = (
            asyncio.create_task(self._keep_reading(), name="discovery-reader"),
            asyncio.create_task(self._keep_writing(), name="discovery-writer"),
        )
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_reading(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            try:
                request = DiscoveryRequest.FromString(message)
            except DecodeError as error:
                raise InvalidArgument(
                    "A message is not a DiscoveryRequest.", reason="MALFORMED_MESSAGE"
                ) from error
            refusal = self._session.receive(request)
            if refusal is not None:
                log.warning(
                    "hear_refusal",
                    client=self._context.peer(),
                    type=refusal.type_url,
                    version=refusal.version,
                    message=refusal.message,
                )
            self._changed.set()

    async def _keep_writing(self) -> None:
        while (resources := self._resources()) is not None:
            self._changed.clear()
            for response in self._session.responses(resources):
                await self._context.write(response.SerializeToString())
            await self._changed.wait()
