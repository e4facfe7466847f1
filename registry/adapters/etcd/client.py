"""etcd's API, over its gRPC: what the registry needs of it, and no more.

Every call has a deadline and is tried at one member after another until it has passed, so
that neither a dead member, nor a frozen one, nor an election is seen as long as another
answers in time. Whatever is sent here may take effect twice, or when it seemed to have
failed: callers send what may be repeated. Who answered last is asked first.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc

from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.deadlines import Deadline
from mesh.errors import Unavailable
from protos.etcd.v3 import etcd_pb2 as pb
from registry.adapters.etcd.watch import WatchStream

ATTEMPT_SECONDS = 0.3
PAUSE_SECONDS = 0.03
"""After each try, for a member that refuses does so at once, as all do during an election."""
MAX_MESSAGE_BYTES = 32 * 1024 * 1024

REQUIRE_LEADER = (("hasleader", "true"),)
"""Has a member without a leader refuse at once, and end its streams when it loses one."""

_OPTIONS = (
    *(option for option in CHANNEL_OPTIONS if "message_length" not in option[0]),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
Answer = TypeVar("Answer")


class EtcdUnavailable(Unavailable):
    """No member answered in time, or etcd as a whole refuses: it has no quorum, or no space."""

    REASON = "ETCD_UNAVAILABLE"


class LeaseGone(Exception):
    """etcd has no such lease (any more)."""


class Member:
    """One member of the cluster, and the methods that it is called by."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.address = address
        self.channel = (
            grpc.aio.insecure_channel(address, options=_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        )
        self.range = self._unary("KV/Range", pb.RangeRequest, pb.RangeResponse)
        self.txn = self._unary("KV/Txn", pb.TxnRequest, pb.TxnResponse)
        self.grant = self._unary("Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
        self.revoke = self._unary(
            "Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse
        )
        self._keep_alive: Any = self.channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )

    async def keep_alive(
        self, request: pb.LeaseKeepAliveRequest, timeout_seconds: float
    ) -> pb.LeaseKeepAliveResponse:
        """One renewal, on a stream of its own: one that waits for an answer holds up no other."""
        stream = self._keep_alive(iter([request]), timeout=timeout_seconds, metadata=REQUIRE_LEADER)
        try:
            answer = await stream.read()
        finally:
            stream.cancel()
        if not isinstance(answer, pb.LeaseKeepAliveResponse):
            raise TimeoutError
        return answer

    def _unary(
        self, method: str, request: type[Any], response: type[Answer]
    ) -> Callable[[Any, float], Coroutine[Any, Any, Answer]]:
        send: Any = self.channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,  # type: ignore[attr-defined]
        )

        async def call(request: Any, timeout_seconds: float) -> Answer:
            answer: Answer = await send(request, timeout=timeout_seconds, metadata=REQUIRE_LEADER)
            return answer

        return call


class EtcdClient:
    """A client of one cluster. Use it in one event loop alone."""

    def __init__(
        self,
        members: Sequence[str],
        *,
        credentials: grpc.ChannelCredentials | None = None,
        first_turn: int = 0,
    ) -> None:
        """`members` are host:port; without `credentials` the connections are plain text.
        `first_turn` says which member is asked first, so that several clients spread."""
        assert members, "a cluster has a member"
        self._members = [Member(address, credentials) for address in members]
        self._turn = first_turn

    async def range(self, request: pb.RangeRequest, deadline: Deadline) -> pb.RangeResponse:
        """Raises EtcdUnavailable."""
        return await self._try(lambda member, left: member.range(request, left), deadline)

    async def txn(self, request: pb.TxnRequest, deadline: Deadline) -> pb.TxnResponse:
        """Raises EtcdUnavailable; LeaseGone when a put names a lease that is not there."""
        return await self._try(lambda member, left: member.txn(request, left), deadline)

    async def grant(self, lease_seconds: int, deadline: Deadline) -> pb.LeaseGrantResponse:
        """A new lease. Raises EtcdUnavailable."""
        request = pb.LeaseGrantRequest(TTL=lease_seconds)
        return await self._try(lambda member, left: member.grant(request, left), deadline)

    async def keep_alive(self, lease: int, deadline: Deadline) -> None:
        """Gives a lease its whole time again. Raises EtcdUnavailable or LeaseGone."""
        request = pb.LeaseKeepAliveRequest(ID=lease)
        answer = await self._try(lambda member, left: member.keep_alive(request, left), deadline)
        if answer.TTL <= 0:
            raise LeaseGone

    async def revoke(self, lease: int, deadline: Deadline) -> None:
        """Ends a lease and deletes its keys. Raises EtcdUnavailable or LeaseGone."""
        request = pb.LeaseRevokeRequest(ID=lease)
        await self._try(lambda member, left: member.revoke(request, left), deadline)

    def watch(self, request: pb.WatchCreateRequest) -> WatchStream:
        """A watch at the member whose turn it is. When it fails, `turn_to_next` is called."""
        return WatchStream(self._member.channel, request, REQUIRE_LEADER)

    @property
    def turn(self) -> int:
        """Grows with every change of the member that is asked first."""
        return self._turn

    @property
    def address(self) -> str:
        """Of the member that is asked first."""
        return self._member.address

    def turn_to_next(self, failed_turn: int) -> None:
        """Has the next member asked first, unless somebody has seen to it since that turn."""
        if self._turn == failed_turn:
            self._turn += 1

    async def close(self) -> None:
        """Breaks every connection."""
        await asyncio.gather(*(member.channel.close() for member in self._members))

    @property
    def _member(self) -> Member:
        return self._members[self._turn % len(self._members)]

    async def _try(
        self, send: Callable[[Member, float], Coroutine[Any, Any, Answer]], deadline: Deadline
    ) -> Answer:
        cause: Exception | None = None
        while (left_seconds := deadline.remaining_seconds()) > 0:
            turn, member = self._turn, self._member
            try:
                return await send(member, min(ATTEMPT_SECONDS, left_seconds))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise LeaseGone from error
                cause = error
            except TimeoutError as error:
                cause = error
            self.turn_to_next(turn)
            await asyncio.sleep(min(PAUSE_SECONDS, max(0.0, deadline.remaining_seconds())))
        raise self._unavailable(cause) from cause

    def _unavailable(self, cause: Exception | None) -> EtcdUnavailable:
        said = cause.details() if isinstance(cause, grpc.aio.AioRpcError) else "no answer in time"
        return EtcdUnavailable(
            f"This registry's etcd does not answer; repeat the call in a moment ({said}).",
            metadata={"memberCount": str(len(self._members))},
            retry_after_seconds=1.0,
        )
