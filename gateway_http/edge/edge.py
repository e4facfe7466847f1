"""What stands between a client and the routes, whatever the route: who the client is, what
it may send, and what browsers are told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from gateway_http.config import GatewaySettings
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.rate_limits.callers import Callers
from gateway_http.edge.rate_limits.counters import Counters
from gateway_http.edge.rate_limits.limiter import UNLIMITED, Admission, RateLimiter
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.exchange import HttpRequest, LimitClass
from mesh.addresses import site_of


@dataclass(frozen=True, slots=True)
class Edge:
    """`limiter` is None where nothing is limited."""

    addresses: ClientAddresses
    limiter: RateLimiter | None
    response_headers: ResponseHeaders

    def admit(
        self, limit_class: LimitClass, request: HttpRequest, client_address: str
    ) -> Admission:
        """Counts a request against its limits."""
        if self.limiter is None:
            return UNLIMITED
        authorization = request.headers.get("authorization")
        return self.limiter.admit(limit_class, site_of(client_address), authorization)


def edge_of(
    settings: GatewaySettings,
    registry: CollectorRegistry,
    clock: Callable[[], float] = time.time,
) -> Edge:
    """As the settings have it; `clock` gives seconds since 1970, as other gateways' do."""
    refusals = Counter(
        "gateway_rate_limited",
        "Requests that a rate limit refused, by its name.",
        ["policy"],
        registry=registry,
    )
    addresses = ClientAddresses(settings.trusted_proxies)
    limiter = RateLimiter(
        Counters(settings.address_limit, clock),
        Counters(settings.sign_in_limit, clock),
        Counters(settings.player_limit, clock),
        Callers(),
        lambda policy: refusals.labels(policy).inc(),
    )
    return Edge(
        addresses,
        limiter if settings.rate_limits == "on" else None,
        ResponseHeaders(settings.cors_origins, addresses, hsts_seconds=settings.hsts_seconds),
    )
