"""One watch on etcd, which ends when its member stops responding.

A frozen or disconnected member is silent, like one without changes. So the watch keeps
requesting progress notifications, and ends when they stop.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc

from protos.etcd.v3 import etcd_pb2 as pb

PING_SECONDS = 0.5
PATIENCE_SECONDS = 1.5


class WatchLost(Exception):
    """The member sent nothing for too long, or ended the watch."""


class Compacted(Exception):
    """etcd has compacted the changes that the watch needs; read the keys again."""


class WatchStream:
    """Use it once: `async for response in stream.responses()`."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        request: pb.WatchCreateRequest,
        metadata: Sequence[tuple[str, str]],
    ) -> None:
        self._request = request
        self._metadata = tuple(metadata)
        self._open: Any = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )

    async def responses(self) -> AsyncGenerator[pb.WatchResponse, None]:
        """The first response confirms the watch; the others have events.

        Raises Compacted, WatchLost, and gRPC's errors.
        """
        stream = self._open(metadata=self._metadata)
        pinging = asyncio.create_task(self._keep_asking(stream), name="etcd watch")
        try:
            while True:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    response = await stream.read()
                if not isinstance(response, pb.WatchResponse):
                    raise WatchLost("the stream has ended")
                if response.compact_revision:
                    raise Compacted
                if response.canceled:
                    raise WatchLost(response.cancel_reason)
                if response.created or response.events:
                    yield response
        finally:
            pinging.cancel()
            stream.cancel()

    async def _keep_asking(self, stream: Any) -> None:
        """Ignores errors here, because reading the responses raises them too."""
        sign_of_life = pb.WatchRequest(progress_request=pb.WatchProgressRequest())
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.write(pb.WatchRequest(create_request=self._request))
            while True:
                await asyncio.sleep(PING_SECONDS)
                await stream.write(sign_of_life)
