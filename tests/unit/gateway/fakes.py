"""Fakes for the gateway's tests: callers, the list of instances, requests."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from gateway_http.app import Gateway
from gateway_http.caching.memory import AnswerMemory
from gateway_http.compose import Limits, add_operations, compose_router
from gateway_http.describing.pages import Presence
from gateway_http.edge.callers import Callers
from gateway_http.edge.calls_in_flight import CallBounds, CallsInFlight
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.edge import Edge
from gateway_http.edge.members import Members
from gateway_http.edge.rate_limits.limiter import RateLimiter
from gateway_http.edge.refusal_pace import RefusalPace
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.edge.token_keys import TokenKeys
from gateway_http.exchange import Headers, HttpRequest
from gateway_http.transcoding.contracts import Contracts, load_contracts
from gateway_http.transcoding.router import Router
from mesh.calls import Metadata
from mesh.contract.instances import Instance
from mesh.deadlines import Deadline
from mesh.identity.keys import KnownKeys, fixed_known_keys
from protos import DESCRIPTORS

NO_MEMBERS = Members(None)
NO_KEYS = fixed_known_keys()
LIMITS = Limits(max_body_bytes=64 * 1024, deadline_seconds=10.0)


@dataclass
class Call:
    """A recorded call."""

    method: str
    request: bytes
    metadata: dict[str, str]
    remaining_seconds: float


@dataclass
class FakeCaller:
    """Answers each method with bytes, raises, or waits; records its calls."""

    answers: dict[str, bytes | Exception] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    wait_seconds: float = 0.0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled_count: int = 0
    refusal: Exception | None = None

    def refuse_early(self, method: str) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        self.calls.append(Call(method, request, dict(metadata), deadline.remaining_seconds()))
        self.called.set()
        try:
            await asyncio.sleep(self.wait_seconds)
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        answer = self.answers.get(method, b"")
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class FakeDirectory:
    """A list of instances that tests set."""

    by_service: dict[str, tuple[Instance, ...]] = field(default_factory=dict)
    age: float = 0.0

    def instances(self, service: str) -> tuple[Instance, ...]:
        return self.by_service.get(service, ())

    def services(self) -> tuple[str, ...]:
        return tuple(self.by_service)

    def age_seconds(self) -> float:
        return self.age


def everyone_alive() -> FakeDirectory:
    return FakeDirectory(
        {
            service: (Instance(f"{service}-1", service, "127.0.0.1:1"),)
            for service in ("account_svc", "gacha_svc")
        }
    )


@cache
def contracts() -> Contracts:
    return load_contracts(DESCRIPTORS.read_bytes())


def counted_ids() -> Callable[[], str]:
    """Predictable ids: 32 digits that count up."""
    numbers = iter(range(1, 1_000_000))
    return lambda: f"{next(numbers):032x}"


def calls_router(caller: FakeCaller, limits: Limits = LIMITS) -> Router:
    """A router with only the routes of the descriptors."""
    router = Router()
    callers = {"account_svc": caller, "gacha_svc": caller}
    memory = AnswerMemory()
    add_operations(router, contracts(), callers, limits=limits, new_id=counted_ids(), memory=memory)
    return router


def router_for(
    caller: FakeCaller,
    *,
    directory: FakeDirectory | None = None,
    presence: Presence | None = None,
    limits: Limits = LIMITS,
    members: Members = NO_MEMBERS,
    report_url: str | None = None,
) -> Router:
    return compose_router(
        contracts(),
        {"account_svc": caller, "gacha_svc": caller},
        directory or everyone_alive(),
        presence or Presence("gateway-1", "127.0.0.1:8080", lambda: 0.0),
        limits=limits,
        new_id=counted_ids(),
        members=members,
        memory=AnswerMemory(),
        report_url=report_url,
    )


def http_request(
    method: str,
    path: str,
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    is_too_large: bool = False,
    waited_seconds: float = 0.0,
    client: str = "192.0.2.1:5000",
    scheme: str = "http",
) -> HttpRequest:
    """A request as a connection delivers it."""
    return HttpRequest(
        method,
        path,
        query,
        Headers(list((headers or {}).items())),
        client,
        scheme,
        body,
        is_too_large,
        waited_seconds=waited_seconds,
    )


def plain_edge(*origins: str) -> Edge:
    """An edge without limits and proxies, with these origins."""
    addresses = ClientAddresses(())
    return edge_of(addresses, ResponseHeaders(origins, addresses, hsts_seconds=0))


def edge_of(
    addresses: ClientAddresses,
    response_headers: ResponseHeaders,
    *,
    player_keys: KnownKeys = NO_KEYS,
    clock: Callable[[], float] = time.time,
    limiter: RateLimiter | None = None,
    calls_in_flight: CallsInFlight | None = None,
    refusal_pace: RefusalPace | None = None,
) -> Edge:
    """An edge without the limits that are not given."""
    return Edge(
        addresses,
        response_headers,
        callers=Callers(TokenKeys(player_keys, clock=clock)),
        calls_in_flight=calls_in_flight or CallsInFlight(CallBounds(1000, 1000, 1000, 1000)),
        limiter=limiter,
        refusal_pace=refusal_pace,
        max_held=100,
    )


@dataclass
class Answer:
    """A response, with its headers also by name."""

    status: int
    body: bytes
    headers: dict[str, str]
    header_list: list[tuple[str, str]]


async def answer_of(gateway: Gateway, request: HttpRequest) -> Answer:
    response = await gateway.answer(request)
    header_list = [*response.headers, ("content-type", response.content_type)]
    return Answer(response.status, response.body, dict(header_list), header_list)
