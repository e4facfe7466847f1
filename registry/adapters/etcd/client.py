"""A client for the part of etcd's gRPC API that the registry needs.

Every call has a deadline, and tries one member after another until then. So a dead member, a
frozen one or an election does not fail a call as long as another member answers in time. A call
may take effect twice, or after it seemed to fail: callers must send only repeatable requests.
Each call starts with the member that answered last.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc

from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.deadlines import Deadline
from mesh.errors import Unavailable
from protos.etcd.v3 import etcd_pb2 as pb
from registry.adapters.etcd.tokens import Metadata, Tokens, User
from registry.adapters.etcd.watch import WatchStream

ATTEMPT_SECONDS = 0.3
PAUSE_SECONDS = 0.03
"""After each try. Without a pause, an election would use up all tries: members refuse at once."""
MAX_MESSAGE_BYTES = 32 * 1024 * 1024

REQUIRE_LEADER = (("hasleader", "true"),)
"""A member without a leader then refuses at once, and ends its streams when it loses one."""

_OPTIONS = (
    *(option for option in CHANNEL_OPTIONS if "message_length" not in option[0]),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
Answer = TypeVar("Answer")


class EtcdUnavailable(Unavailable):
    """No member answered in time, or the cluster refuses: it has no quorum or no space."""

    REASON = "ETCD_UNAVAILABLE"


class LeaseGone(Exception):
    """etcd does not have the lease, or no longer has it."""


class Member:
    """One member of the cluster, with the methods that are called on it."""

    def __init__(self, address: str, authority: bytes | None) -> None:
        self.address = address
        self.channel = (
            grpc.aio.insecure_channel(address, options=_OPTIONS)
            if authority is None
            else grpc.aio.secure_channel(
                address, grpc.ssl_channel_credentials(authority), options=_OPTIONS
            )
        )
        self.authenticate = self._unary(
            "Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse
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
        self, request: pb.LeaseKeepAliveRequest, timeout_seconds: float, metadata: Metadata
    ) -> pb.LeaseKeepAliveResponse:
        """One renewal, on its own stream, so that a slow renewal does not delay others."""
        metadata = (*REQUIRE_LEADER, *metadata)
        stream = self._keep_alive(iter([request]), timeout=timeout_seconds, metadata=metadata)
        try:
            answer = await stream.read()
        finally:
            stream.cancel()
        if not isinstance(answer, pb.LeaseKeepAliveResponse):
            raise TimeoutError
        return answer

    def _unary(
        self, method: str, request: type[Any], response: type[Answer]
    ) -> Callable[[Any, float, Metadata], Coroutine[Any, Any, Answer]]:
        send: Any = self.channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,  # type: ignore[attr-defined]
        )

        async def call(request: Any, timeout_seconds: float, metadata: Metadata) -> Answer:
            metadata = (*REQUIRE_LEADER, *metadata)
            answer: Answer = await send(request, timeout=timeout_seconds, metadata=metadata)
            return answer

        return call


class EtcdClient:
    """A client of one cluster, for one event loop."""

    def __init__(
        self,
        members: Sequence[str],
        *,
        authority: bytes | None = None,
        user: User | None = None,
        first_turn: int = 0,
    ) -> None:
        """`members` are host:port. `authority` is the certificate of their CA in PEM; without it
        the connections are plain text. Without `user` the cluster must not know users.
        `first_turn` is the index of the first member to call, which spreads several clients."""
        assert members, "a cluster has at least one member"
        self._members = [Member(address, authority) for address in members]
        self._tokens = Tokens(user)
        self._turn = first_turn

    async def range(self, request: pb.RangeRequest, deadline: Deadline) -> pb.RangeResponse:
        """Raises EtcdUnavailable."""
        return await self._try(lambda member, *how: member.range(request, *how), deadline)

    async def txn(self, request: pb.TxnRequest, deadline: Deadline) -> pb.TxnResponse:
        """Raises EtcdUnavailable, and LeaseGone when a put names a lease that does not exist."""
        return await self._try(lambda member, *how: member.txn(request, *how), deadline)

    async def grant(self, lease_seconds: int, deadline: Deadline) -> pb.LeaseGrantResponse:
        """A new lease. Raises EtcdUnavailable."""
        request = pb.LeaseGrantRequest(TTL=lease_seconds)
        return await self._try(lambda member, *how: member.grant(request, *how), deadline)

    async def keep_alive(self, lease: int, deadline: Deadline) -> None:
        """Renews a lease for its full time. Raises EtcdUnavailable or LeaseGone."""
        request = pb.LeaseKeepAliveRequest(ID=lease)
        answer = await self._try(lambda member, *how: member.keep_alive(request, *how), deadline)
        if answer.TTL <= 0:
            raise LeaseGone

    async def revoke(self, lease: int, deadline: Deadline) -> None:
        """Ends a lease and deletes its keys. Raises EtcdUnavailable or LeaseGone."""
        request = pb.LeaseRevokeRequest(ID=lease)
        await self._try(lambda member, *how: member.revoke(request, *how), deadline)

    def watch(self, request: pb.WatchCreateRequest) -> WatchStream:
        """A watch at the current member, with the token of the last call, so read something there
        first. The caller calls `turn_to_next` when it fails."""
        metadata = (*REQUIRE_LEADER, *self._tokens.current)
        return WatchStream(self._member.channel, request, metadata)

    @property
    def turn(self) -> int:
        """Grows with every change of the current member."""
        return self._turn

    @property
    def address(self) -> str:
        """The address of the current member."""
        return self._member.address

    def turn_to_next(self, failed_turn: int) -> None:
        """Makes the next member the current one, unless it was changed since `failed_turn`."""
        if self._turn == failed_turn:
            self._turn += 1

    async def close(self) -> None:
        """Closes every connection."""
        await asyncio.gather(*(member.channel.close() for member in self._members))

    @property
    def _member(self) -> Member:
        return self._members[self._turn % len(self._members)]

    async def _try(
        self,
        send: Callable[[Member, float, Metadata], Coroutine[Any, Any, Answer]],
        deadline: Deadline,
    ) -> Answer:
        cause: Exception | None = None
        while (left_seconds := deadline.remaining_seconds()) > 0:
            turn, member = self._turn, self._member
            timeout_seconds = min(ATTEMPT_SECONDS, left_seconds)
            metadata = self._tokens.current
            try:
                metadata = await self._tokens.metadata(
                    lambda request: self._member.authenticate(request, ATTEMPT_SECONDS, ())
                )
                return await send(member, timeout_seconds, metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise LeaseGone from error
                self._tokens.refused(metadata, error)
                # What a member said tells more than that the last try had too little time.
                if cause is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    cause = error
            except TimeoutError as error:
                cause = cause or error
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
