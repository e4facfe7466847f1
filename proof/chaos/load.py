"""Callers that call continuously and never retry.

They use REST through the gateway, gRPC by the mesh's own client, which finds the instances
itself, and gRPC by a plain channel to each instance, which shows when that instance is down.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from uuid import uuid4

import grpc
import orjson

from deploy.local.mesh_client import client_of
from mesh.calling.client import ServiceClient
from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.calls import AUTHORIZATION, Caller, Metadata
from mesh.contract.access import REGISTRY
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.identity.service_identity import ServiceIdentity
from mesh.lanes.transport import LaneTransport
from mesh.membership.discovery import Directory
from proof.chaos.call_log import CONNECTION_LOST, OK, CallLog, ClientKind
from proof.load.rest_connection import RestConnection
from proof.load.seeded_players import SeededPlayer
from proof.load.session_refresher import SessionRefresher
from proof.stack import Mesh
from proof.tokens import key_of
from protos.account.v1 import account_pb2
from protos.gacha.v1 import gacha_pb2

CURRENCY = "/account.v1.AccountService/GetCurrency"
INVENTORY = "/gacha.v1.GachaService/GetInventory"
REST_CALLERS, CLIENT_CALLERS = 6, 2
DEADLINE_SECONDS = 10.0
PLAIN_TIMEOUT_SECONDS = 1.0
THINK_SECONDS = 0.02
GEMS = 10_000_000
REST_LINES = (
    ("POST /gacha/pull/standard", b'{"count":1}'),
    ("POST /buy-currency", b'{"amount":160,"paymentMethod":"credit_card"}'),
    ("GET /currency", b""),
    ("GET /inventory", b""),
)

CallOnce = Callable[[], Awaitable[None]]


def plain_methods() -> dict[str, tuple[str, bytes]]:
    """A method of each service, and its request."""
    return {
        "account_svc": (CURRENCY, account_pb2.GetCurrencyRequest().SerializeToString()),
        "gacha_svc": (INVENTORY, gacha_pb2.GetInventoryRequest().SerializeToString()),
    }


class Load:
    """All callers of one run, in one event loop."""

    def __init__(
        self,
        mesh: Mesh,
        players: Sequence[SeededPlayer],
        calls: CallLog,
        seed: int,
        *,
        retries: bool,
    ) -> None:
        """Without `retries` a client that tries one instance once replaces the mesh's, to show
        that the load detects the errors."""
        self._mesh, self._players, self._calls = mesh, players, calls
        self._mesh_client = client_of(mesh.read())
        self._chance = random.Random(seed)
        self._retries = retries
        self._refresher = SessionRefresher(mesh, players, seed, self._record_refusal)
        self._out: list[Callable[[str], bool]] = []
        self._is_over = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls until the context ends, then waits for the calls in flight."""
        async with contextlib.AsyncExitStack() as stack:
            await self._fund()
            callers = [
                *self._rest_callers(stack),
                *await self._clients(stack),
                *self._plain(stack),
            ]
            tasks = [asyncio.create_task(self._keep_calling(each)) for each in callers]
            refreshing = asyncio.create_task(self._refresher.keep_refreshing())
            try:
                yield
            finally:
                self._is_over = True
                await asyncio.gather(*tasks)
                refreshing.cancel()
                await asyncio.gather(refreshing, return_exceptions=True)

    async def _fund(self) -> None:
        """Buys gems, so that no pull is refused for lack of them."""
        rest = RestConnection(self._mesh.gateway, self._mesh_client.trust)
        body = orjson.dumps({"amount": GEMS, "paymentMethod": "credit_card"})
        for player in self._players:
            answer = await rest.send("POST /buy-currency", player.token, uuid4().hex, body)
            assert answer is not None, "a purchase had no answer"
            assert answer.status == 200, answer
        rest.close()

    async def _keep_calling(self, call_once: CallOnce) -> None:
        while not self._is_over:
            await call_once()
            await asyncio.sleep(THINK_SECONDS)

    def is_out(self, instance: str) -> bool:
        """Whether the mesh's clients no longer call it: its breaker is open, or it is not listed
        as serving."""
        return any(is_out(instance) for is_out in self._out)

    def _record_refusal(self, detail: str) -> None:
        self._calls.add(ClientKind.REST, time.monotonic(), detail)

    def _player(self) -> SeededPlayer:
        return self._chance.choice(self._players)

    def _rest_callers(self, stack: contextlib.AsyncExitStack) -> Iterator[CallOnce]:
        gateways = [each["address"] for each in self._mesh.processes("gateway_http")]
        for number in range(REST_CALLERS):
            address = gateways[number % len(gateways)]
            rest = RestConnection(self._mesh_client.url(address), self._mesh_client.trust)
            stack.callback(rest.close)
            yield self._rest_caller(rest)

    def _rest_caller(self, rest: RestConnection) -> CallOnce:

        async def call_once() -> None:
            line, body = self._chance.choice(REST_LINES)
            token = self._player().token
            began_at = time.monotonic()
            answer = await rest.send(line, token, uuid4().hex, body)
            if answer is None:
                detail = CONNECTION_LOST
            elif answer.status == 200:
                detail = OK
            else:
                detail = f"{answer.status} {orjson.loads(answer.body)['reason']}"
            self._calls.add(ClientKind.REST, began_at, detail)

        return call_once

    async def _clients(self, stack: contextlib.AsyncExitStack) -> list[CallOnce]:
        identity = ServiceIdentity(key_of(self._mesh, "gateway_http"), "gateway_http")
        registries = [each["address"] for each in self._mesh.processes("registry")]
        security = self._mesh_client.security
        registry_token = identity.towards(REGISTRY).token
        directory = Directory(registries, registry_token, security=security)
        directory.start()
        stack.push_async_callback(directory.close)
        await directory.first_snapshot(DEADLINE_SECONDS)
        callers: list[CallOnce] = []
        for service, (method, request) in plain_methods().items():
            transport = LaneTransport(identity.towards(service).token, security=security)
            client = ServiceClient(service, directory, transport=transport)
            stack.push_async_callback(client.close)
            self._out.append(_watch(service, client, directory))
            used: Caller = client if self._retries else OneTry(service, directory, transport)
            callers += [self._client(used, method, request) for _ in range(CLIENT_CALLERS)]
        return callers

    def _client(self, client: Caller, method: str, request: bytes) -> CallOnce:
        async def call_once() -> None:
            metadata = {AUTHORIZATION: f"Bearer {self._player().token}"}
            began_at, detail = time.monotonic(), OK
            try:
                await client.call(method, request, metadata, Deadline.after(DEADLINE_SECONDS))
            except MeshError as error:
                detail = f"{error.code.name} {error.reason}"
            self._calls.add(ClientKind.CLIENT, began_at, detail)

        return call_once

    def _plain(self, stack: contextlib.AsyncExitStack) -> Iterator[CallOnce]:
        for service, (method, request) in plain_methods().items():
            for process in self._mesh.processes(service):
                channel = self._mesh_client.security.channel(process["address"], CHANNEL_OPTIONS)
                stack.push_async_callback(channel.close)
                yield self._channel(channel, process["name"], method, request)

    def _channel(
        self, channel: grpc.aio.Channel, name: str, method: str, request: bytes
    ) -> CallOnce:
        send: Callable[..., Awaitable[bytes]] = channel.unary_unary(method)

        async def call_once() -> None:
            metadata = ((AUTHORIZATION, f"Bearer {self._player().token}"),)
            began_at, detail = time.monotonic(), OK
            try:
                await send(request, timeout=PLAIN_TIMEOUT_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                detail = error.code().name
            self._calls.add(ClientKind.PLAIN, began_at, detail, name)

        return call_once


class OneTry:
    """A `mesh.calls.Caller` that sends each call to the next instance in turn, once."""

    def __init__(self, service: str, directory: Directory, transport: LaneTransport) -> None:
        self._service, self._directory, self._transport = service, directory, transport
        self._turn = 0

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """See `mesh.calls.Caller`."""
        instances = self._directory.instances(self._service)
        self._turn += 1
        address = instances[self._turn % len(instances)].address
        return await self._transport.call(
            address, method, request, metadata, deadline.remaining_seconds()
        )


def _watch(service: str, client: ServiceClient, directory: Directory) -> Callable[[str], bool]:
    def is_out(instance: str) -> bool:
        if not instance.startswith(service):
            return False
        listed = directory.instances(service)
        serving = {each.id for each in listed if each.is_serving}
        return instance not in serving or instance in client.open_instances()

    return is_out
