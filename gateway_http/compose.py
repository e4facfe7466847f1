"""Builds the gateway from the descriptors, the callers and the list of live instances.

Everything is compiled here, once. A descriptor that the gateway cannot support stops the
start; it never fails a request.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from prometheus_client import CollectorRegistry, Counter

from gateway_http.caching.memory import AnswerMemory, Source
from gateway_http.caching.remembered_call import RememberedCall
from gateway_http.config import GatewaySettings
from gateway_http.describing.documentation import StaticFile, documentation_pages
from gateway_http.describing.openapi import openapi_document
from gateway_http.describing.pages import HealthPage, Presence, ReadyPage, StatusSource
from gateway_http.edge.callers import Callers
from gateway_http.edge.calls_in_flight import CallBounds, CallsInFlight
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.edge import Edge
from gateway_http.edge.members import Members
from gateway_http.edge.rate_limits.counters import Counters
from gateway_http.edge.rate_limits.limiter import RateLimiter
from gateway_http.edge.rate_limits.network_counters import NetworkCounters
from gateway_http.edge.refusal_pace import RefusalPace
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.edge.token_keys import TokenKeys
from gateway_http.exchange import LimitClass
from gateway_http.listening.places import Reason
from gateway_http.pages.home import HomePage
from gateway_http.pages.html import STYLESHEET, stylesheet
from gateway_http.pages.odds import OddsPage
from gateway_http.pages.status import States, StatusPage
from gateway_http.transcoding.binding import RequestBinding
from gateway_http.transcoding.contracts import Contracts
from gateway_http.transcoding.decoding import Decoders
from gateway_http.transcoding.encoding import Encoders
from gateway_http.transcoding.raw_parts import RawParts
from gateway_http.transcoding.rest_call import RestCall
from gateway_http.transcoding.router import Router
from mesh.calls import SheddingCaller
from mesh.identity.keys import KnownKeys


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests."""

    max_body_bytes: int
    deadline_seconds: float


def compose_router(
    contracts: Contracts,
    callers: Mapping[str, SheddingCaller],
    source: StatusSource,
    presence: Presence,
    *,
    limits: Limits,
    new_id: Callable[[], str],
    members: Members,
    memory: AnswerMemory,
    report_url: str | None = None,
) -> Router:
    """All routes: those of the descriptors, and the gateway's own pages.

    `callers` are keyed by the proto services' default_host. Raises
    UnsupportedContract, and KeyError for a host that has no caller.
    """
    router = Router()
    add_operations(router, contracts, callers, limits=limits, new_id=new_id, memory=memory)
    needed = contracts.hosts()
    router.add("GET", "/healthz", HealthPage(), also_head=True)
    router.add("GET", "/readyz", ReadyPage(needed, source, presence), also_head=True)
    states = States(needed, source, presence)
    router.add("GET", "/", HomePage(states, report_url), also_head=True)
    router.add("GET", "/status", StatusPage(states, members), also_head=True)
    router.add("GET", "/odds", OddsPage(router, contracts), also_head=True)
    styles = StaticFile(stylesheet(), "text/css; charset=utf-8")
    router.add("GET", STYLESHEET, styles, also_head=True)
    document = orjson.dumps(openapi_document(contracts, limits.max_body_bytes))
    for path, page in documentation_pages(document):
        router.add("GET", path, page, also_head=True)
    return router


def add_operations(
    router: Router,
    contracts: Contracts,
    callers: Mapping[str, SheddingCaller],
    *,
    limits: Limits,
    new_id: Callable[[], str],
    memory: AnswerMemory,
) -> None:
    """Adds the routes of the descriptors. Raises as `compose_router` does."""
    decoders, encoders = Decoders(), Encoders()
    for operation in contracts.operations:
        for binding in operation.bindings:
            call = RestCall(
                operation,
                RequestBinding(operation, binding, decoders.of(operation.request), new_id),
                RawParts(operation, binding),
                encoders.of(operation.response),
                callers[operation.host],
                maximum_seconds=limits.deadline_seconds,
                max_body_bytes=limits.max_body_bytes,
            )
            # Old clients use some GET routes that change data. HEAD must never change data.
            also_head = binding.verb == "GET" and not operation.has_side_effects
            router.add(
                binding.verb,
                binding.template,
                RememberedCall(call, memory, operation.config.memory_seconds)
                if operation.is_remembered
                else call,
                also_head=also_head,
            )


def compose_edge(
    settings: GatewaySettings,
    metrics_registry: CollectorRegistry,
    player_keys: KnownKeys,
    clock: Callable[[], float] = time.time,
) -> Edge:
    """As the settings have it. `clock` gives seconds since 1970, as other gateways' do."""
    refusals = Counter(
        "gateway_rate_limited",
        "Requests that a limit of one caller refused, by its name.",
        ["policy"],
        registry=metrics_registry,
    )

    def count_refusal(policy: str) -> None:
        refusals.labels(policy).inc()

    addresses = ClientAddresses(settings.trusted_proxies)
    limiter = RateLimiter(
        {
            LimitClass.ADDRESS: NetworkCounters(settings.address_limit, clock),
            LimitClass.SIGN_IN: NetworkCounters(settings.sign_in_limit, clock),
            LimitClass.PLAYER: Counters(settings.player_limit, clock),
        },
        count_refusal,
    )
    is_limited = settings.rate_limits == "on"
    return Edge(
        addresses,
        ResponseHeaders(settings.cors_origins, addresses, hsts_seconds=settings.hsts_seconds),
        callers=Callers(TokenKeys(player_keys, clock=clock)),
        calls_in_flight=CallsInFlight(_call_bounds(settings), count_refusal),
        limiter=limiter if is_limited else None,
        refusal_pace=RefusalPace() if is_limited else None,
        max_held=settings.max_connections // 4,
    )


def _call_bounds(settings: GatewaySettings) -> CallBounds:
    """Half of the gateway is always left to others than one network, unless the settings give a
    single address more."""
    of_address = settings.max_address_in_flight
    of_players = settings.max_address_players_in_flight
    of_network = max(settings.max_in_flight // 2, of_address, of_players)
    return CallBounds(settings.max_player_in_flight, of_address, of_players, of_network)


def ended_connections(metrics_registry: CollectorRegistry) -> Callable[[Reason], None]:
    """Counts a connection that was ended or refused for a bound on connections."""
    counter = Counter(
        "gateway_connections_ended",
        "Connections that a bound on connections ended or refused, by the bound.",
        ["reason"],
        registry=metrics_registry,
    )
    children = {reason: counter.labels(reason.value) for reason in Reason}
    return lambda reason: children[reason].inc()


def counted_memory(metrics_registry: CollectorRegistry) -> AnswerMemory:
    """A memory that counts where answers came from."""
    counter = Counter(
        "gateway_remembered_answers",
        "Answers of the routes whose answers are remembered, by where each came from: memory, "
        "a call that another request had begun (shared), or a call of its own.",
        ["outcome"],
        registry=metrics_registry,
    )
    children = {source: counter.labels(source.value) for source in Source}
    return AnswerMemory(lambda source: children[source].inc())
