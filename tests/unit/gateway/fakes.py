"""What stands at the gateway's seams in its tests: callers, the list of who is alive, RSGI."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gateway_http.compose import Limits, add_operations, compose_router
from gateway_http.describing.pages import Presence
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.edge import Edge
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.transcoding.contracts import Contracts, load_contracts
from gateway_http.transcoding.router import Router
from mesh.calls import Metadata
from mesh.contract.instances import Instance
from mesh.deadlines import Deadline
from protos import DESCRIPTORS

LIMITS = Limits(max_body_bytes=64 * 1024, deadline_seconds=10.0)


@dataclass
class Call:
    """What a caller was asked for."""

    method: str
    request: bytes
    metadata: dict[str, str]
    remaining_seconds: float


@dataclass
class FakeCaller:
    """Answers by method with bytes, or raises, or waits; remembers what it was asked."""

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
    """A list of who is alive that tests write."""

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
    """Ids that tests can foretell: 32 digits that count up."""
    numbers = iter(range(1, 1_000_000))
    return lambda: f"{next(numbers):032x}"


def calls_router(caller: FakeCaller, limits: Limits = LIMITS) -> Router:
    """The routes of the descriptors alone."""
    router = Router()
    callers = {"account_svc": caller, "gacha_svc": caller}
    add_operations(router, contracts(), callers, limits=limits, new_id=counted_ids())
    return router


def router_for(
    caller: FakeCaller,
    *,
    directory: FakeDirectory | None = None,
    presence: Presence | None = None,
    limits: Limits = LIMITS,
) -> Router:
    return compose_router(
        contracts(),
        {"account_svc": caller, "gacha_svc": caller},
        directory or everyone_alive(),
        presence or Presence("gateway-1", "127.0.0.1:8080", lambda: 0.0),
        limits=limits,
        new_id=counted_ids(),
    )


@dataclass
class FakeScope:
    """The head of a request."""

    method: str
    path: str
    query_string: str = ""
    headers: Any = field(default_factory=dict)
    http_version: str = "1.1"
    scheme: str = "http"
    client: str = "192.0.2.1:5000"

    def __post_init__(self) -> None:
        self.headers = FakeHeaders(self.headers)


class FakeHeaders:
    """A request's headers, one of each name."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, default: str | None = None) -> str | None:
        return self._values.get(key, default)

    def get_all(self, key: str) -> list[str]:
        return [self._values[key]] if key in self._values else []


def plain_edge(*origins: str) -> Edge:
    """No limits, no proxies, no other origins but these."""
    addresses = ClientAddresses(())
    return Edge(addresses, None, ResponseHeaders(origins, addresses, hsts_seconds=0))


class FakeProtocol:
    """A client that sends `chunks` and keeps what it is sent."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.read_count = 0
        self.gone = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.header_list: list[tuple[str, str]] = []
        self.body = b""

    async def __call__(self) -> bytes:
        self.read_count = len(self.chunks)
        return b"".join(self.chunks)

    def __aiter__(self) -> AsyncIterator[bytes]:
        # As granian has it: a body is read once.
        assert self.read_count == 0, "the body was read before"
        return self._arriving()

    async def _arriving(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.read_count += 1
            yield chunk

    async def client_disconnect(self) -> None:
        await self.gone.wait()

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.response_bytes(status, headers, b"")

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert self.status == 0, "a request is answered once"
        self.status, self.headers, self.body = status, dict(headers), body
        self.header_list = list(headers)
