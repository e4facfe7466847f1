"""Sends random requests to every gRPC method of every instance, and judges each answer.

An answer is wrong if its code is one that only our bugs have (UNKNOWN, INTERNAL, DATA_LOSS), or
if it lacks our details, like the errors of gRPC itself when an instance is lost. Streams are
opened, get a few requests, are read once, and are cancelled.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from gateway_http.transcoding.contracts import import_generated
from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.calls import AUTHORIZATION
from mesh.contract.access import rule_of
from mesh.status import DETAILS_KEY
from proof.fuzz.messages import Requests
from protos import DESCRIPTORS

IN_FLIGHT = 24
HEALTH = "grpc.health.v1.Health"
"""Not fuzzed: grpcio parses its requests itself, and answers UNKNOWN to malformed ones."""
CALL_SECONDS = 10.0
STREAM_SECONDS = 1.0
RIGHT_CALLER_SHARE = 0.7
OUR_BUGS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS)
SAID_BY_GRPC = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""The answers of gRPC itself to an unknown method or a too large message."""


Token = Callable[[str], str]
"""Returns the caller's current token for the service of that name."""
PLAYER = "player"
LEAVER = "player who leaves"
"""Calls ENDING, which would end the sessions of PLAYER."""
ENDING = "/account.v1.SessionService/LogoutEverywhere"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one instance."""

    instance: str
    address: str
    method: MethodDescriptor

    @property
    def service(self) -> str:
        """The name of the service that the instance belongs to."""
        return self.instance.rpartition("-")[0]

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


@dataclass(slots=True)
class Verdict:
    """The result of all requests: answers by method and code, and the findings."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.answers.total()


def endpoints_of(instances: Sequence[tuple[str, str]]) -> list[Endpoint]:
    """Every method that the instances list by reflection; `instances` are names and addresses."""
    import_generated(DESCRIPTORS.read_bytes())
    pool = descriptor_pool.Default()
    endpoints = []
    for name, address in instances:
        with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            for service in ProtoReflectionDescriptorDatabase(channel).get_services():
                if service == HEALTH:
                    continue
                with suppress(KeyError):  # not our service, and not generated here
                    found = pool.FindServiceByName(service)
                    endpoints += [Endpoint(name, address, method) for method in found.methods]
    return endpoints


class GrpcFuzzer:
    """Sends requests to endpoints. `tokens` has a token of each service, and of
    PLAYER and LEAVER."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        tokens: dict[str, Token],
        requests: Requests,
        randomness: Random,
    ) -> None:
        self._endpoints = endpoints
        self._tokens = tokens
        self._requests = requests
        self._randomness = randomness
        self.verdict = Verdict()

    async def send(self, count: int) -> None:
        """Sends that many requests."""
        addresses = {endpoint.address for endpoint in self._endpoints}
        channels = {
            address: grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            for address in addresses
        }
        left = iter(range(count))

        async def keep_sending() -> None:
            for _ in left:
                endpoint = self._randomness.choice(self._endpoints)
                await self._send_to(endpoint, channels[endpoint.address])

        try:
            await asyncio.gather(*(keep_sending() for _ in range(IN_FLIGHT)))
        finally:
            for channel in channels.values():
                await channel.close()

    async def _send_to(self, endpoint: Endpoint, channel: grpc.aio.Channel) -> None:
        request = self._requests.of(endpoint.method.input_type)
        metadata = self._metadata(endpoint)
        try:
            if endpoint.method.client_streaming:
                await self._exchange(endpoint, channel, request, metadata)
            elif endpoint.method.server_streaming:
                await self._read_once(endpoint, channel, request, metadata)
            else:
                send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                    endpoint.path
                )
                await send(request, timeout=CALL_SECONDS, metadata=metadata)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
            self._judge(endpoint, request, error)
        self.verdict.answers[endpoint.path, code.name] += 1

    async def _read_once(
        self,
        endpoint: Endpoint,
        channel: grpc.aio.Channel,
        request: bytes,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        send: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(endpoint.path)
        call = send(request, timeout=CALL_SECONDS, metadata=metadata)
        # A watcher that has the newest list gets nothing until the next change.
        with suppress(TimeoutError):
            async with asyncio.timeout(STREAM_SECONDS):
                await call.read()
        call.cancel()

    async def _exchange(
        self,
        endpoint: Endpoint,
        channel: grpc.aio.Channel,
        request: bytes,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        """Silence on a stream is valid, because a server need not answer. A lost server is not."""
        send: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            endpoint.path
        )
        call = send(timeout=CALL_SECONDS, metadata=metadata)
        try:
            await call.write(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(STREAM_SECONDS):
                    await call.read()
        except asyncio.InvalidStateError:
            # The server has ended the stream before everything was written.
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), ""
                ) from None
        finally:
            call.cancel()

    def _metadata(self, endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
        rule = rule_of(endpoint.method.GetOptions())
        callers = [caller for caller in self._tokens if rule.admits(caller)] or [PLAYER]
        if self._randomness.random() > RIGHT_CALLER_SHARE:
            callers = ["", *self._tokens]
        caller = self._randomness.choice(callers)
        if caller == PLAYER and endpoint.path == ENDING:
            caller = LEAVER
        token = self._tokens.get(caller)
        return () if token is None else ((AUTHORIZATION, f"Bearer {token(endpoint.service)}"),)

    def _judge(self, endpoint: Endpoint, request: bytes, error: grpc.aio.AioRpcError) -> None:
        code = error.code()
        has_details = any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())
        is_ours = endpoint.method.containing_service.file.name.startswith("protos/")
        if code in OUR_BUGS or (is_ours and not has_details and code not in SAID_BY_GRPC):
            self.verdict.findings.append(
                f"{endpoint.instance} {endpoint.path} {code.name} ({error.details()})"
                f" to {request[:300]!r}"
            )
