"""A real server with a real channel: dispatch, errors, health, reflection, drain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.contract.method_config import WorkKind
from mesh.contract.methods import methods_of
from mesh.deadlines import Deadline
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, ResourceExhausted
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.service_identity import ServiceIdentity
from mesh.process.listening import ListenFailed
from mesh.process.server import Server
from mesh.serving.dispatch import Call, Dispatcher
from mesh.status import DETAILS_KEY, from_wire
from protos.tx.v1 import coordinator_pb2

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SERVICE = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]
RESOLVE = f"/{SERVICE.full_name}/Resolve"


class Coordinator:
    """The gid selects the answer."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.calls: list[Call] = []

    async def resolve(
        self, request: coordinator_pb2.ResolveRequest, call: Call
    ) -> coordinator_pb2.ResolveResponse:
        self.calls.append(call)
        if request.gid == "refuse":
            raise FailedPrecondition("Not now.", reason="NOT_NOW", metadata={"key": "value"})
        if request.gid == "fail":
            raise LookupError("secret of the server")
        if request.gid == "wait":
            await self.release.wait()
        return coordinator_pb2.ResolveResponse(outcome=coordinator_pb2.OUTCOME_ABORT)

    async def get_operations(
        self, request: coordinator_pb2.GetOperationsRequest, call: Call
    ) -> coordinator_pb2.GetOperationsResponse:
        return coordinator_pb2.GetOperationsResponse()

    async def list_decisions(
        self, request: coordinator_pb2.ListDecisionsRequest, call: Call
    ) -> coordinator_pb2.ListDecisionsResponse:
        return coordinator_pb2.ListDecisionsResponse()


class Link:
    def __init__(self, max_calls_of_a_kind: int = 100) -> None:
        key = Ed25519PrivateKey.generate()
        service_keys = fixed_service_keys({"account_svc": key.public_key()})
        self.credential = ServiceIdentity(key, "account_svc").towards("gacha_svc")
        self.coordinator = Coordinator()
        self.ready = True
        self.dispatcher = Dispatcher(
            methods_of(SERVICE, self.coordinator),
            Authenticator("gacha_svc", player_keys=fixed_keys(), service_keys=service_keys),
            bounds=dict.fromkeys(WorkKind, max_calls_of_a_kind),
        )
        self.server = Server("127.0.0.1:0", [SERVICE.full_name], self.dispatcher, self.is_ready)

    async def is_ready(self) -> bool:
        return self.ready

    async def call(self, gid: str, **metadata: str) -> bytes:
        """Calls through a channel. Raises the received MeshError."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}") as channel:
            call: Any = channel.unary_unary(RESOLVE)
            try:
                return await call(  # type: ignore[no-any-return]
                    coordinator_pb2.ResolveRequest(gid=gid).SerializeToString(),
                    metadata=[*{**self.credential.metadata(), **metadata}.items()],
                    timeout=2,
                )
            except grpc.aio.AioRpcError as error:
                trailers = dict(error.trailing_metadata() or ())
                raise from_wire(
                    error.code().value[0], error.details() or "", trailers.get(DETAILS_KEY)
                ) from error


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link()
    await link.server.start()
    yield link
    link.coordinator.release.set()
    await link.server.stop(1)


async def test_a_call_reaches_its_method_with_what_it_must_know(link: Link) -> None:
    answer = await link.call("g", traceparent=TRACEPARENT)
    assert coordinator_pb2.ResolveResponse.FromString(answer).outcome == 2
    (call,) = link.coordinator.calls
    assert (call.path, call.trace_id) == (RESOLVE, TRACE_ID)
    assert 0 < call.deadline.remaining_seconds() <= 2.1  # timeouts are rounded up on the wire


async def test_a_refusal_arrives_with_its_reason(link: Link) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await link.call("refuse")
    assert (caught.value.reason, caught.value.metadata) == ("NOT_NOW", {"key": "value"})


async def test_a_bug_is_reported_by_its_trace_id_and_nothing_else(link: Link) -> None:
    with pytest.raises(MeshError) as caught:
        await link.call("fail", traceparent=TRACEPARENT)
    assert caught.value.reason == "INTERNAL"
    assert caught.value.message == f"Internal error; quote trace id {TRACE_ID}."


async def test_a_malformed_message_is_the_callers_mistake(link: Link) -> None:
    metadata = link.credential.metadata()
    with pytest.raises(InvalidArgument) as caught:
        await link.dispatcher.handle(RESOLVE, b"\xff\xff", metadata, Deadline.after(1))
    assert caught.value.reason == "MALFORMED_MESSAGE"


async def test_an_unknown_method_is_unimplemented(link: Link) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{link.server.port}") as channel:
        call: Any = channel.unary_unary(f"/{SERVICE.full_name}/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_that_outlasts_its_deadline_is_ended(link: Link) -> None:
    with pytest.raises(MeshError) as caught:
        await link.dispatcher.handle(
            RESOLVE,
            coordinator_pb2.ResolveRequest(gid="wait").SerializeToString(),
            link.credential.metadata(),
            Deadline.after(0.05),
        )
    assert caught.value.reason == "DEADLINE_EXCEEDED"


async def test_calls_beyond_the_bound_are_shed_at_once() -> None:
    link = Link(max_calls_of_a_kind=2)
    await link.server.start()
    waiting = [asyncio.create_task(link.call("wait")) for _ in range(2)]
    while len(link.coordinator.calls) < 2:
        await asyncio.sleep(0.01)
    with pytest.raises(ResourceExhausted) as caught:
        await link.call("g")
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after_seconds == 1.0
    link.coordinator.release.set()
    await asyncio.gather(*waiting)
    await link.call("g")
    await link.server.stop(1)


async def test_health_follows_what_the_server_depends_on(link: Link) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{link.server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched: Any = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        link.ready = False
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        link.ready = True
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        await link.server.refuse_new_calls()
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.cancel()


async def test_a_port_is_never_shared(link: Link) -> None:
    second = Server(
        f"127.0.0.1:{link.server.port}",
        [SERVICE.full_name],
        link.dispatcher,
        link.is_ready,
    )
    with pytest.raises(ListenFailed, match="MESH_LISTEN"):
        await second.start()
