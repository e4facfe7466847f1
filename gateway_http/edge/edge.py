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
from gateway_http.edge.rate_limits.limiter import RateLimiter
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.exchange import HeaderList, LimitClass
from gateway_http.listening.rsgi import Scope
from mesh.addresses import site_of


@dataclass(frozen=True, slots=True)
class Edge:
    """`limiter` is None where nothing is limited."""

    addresses: ClientAddresses
    limiter: RateLimiter | None
    response_headers: ResponseHeaders

    def admit(
        self, limit_class: LimitClass, scope: Scope, client_address: str, told: HeaderList
    ) -> str | None:
        """Counts a request; adds to `told` the headers of its limits. Returns the token to
        give to `succeeded` when a service has done what was asked. Raises RateLimited."""
        if self.limiter is None:
            return None
        authorization = scope.headers.get("authorization")
        return self.limiter.admit(limit_class, site_of(client_address), authorization, told)

    def succeeded(self, token: str) -> None:
        """A service has done the call that bore a token which `admit` returned."""
        if self.limiter is not None:
            self.limiter.succeeded(token)


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
