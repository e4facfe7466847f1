"""What stands between a client and the routes, whatever the route: who the client is, what
it may send, and what browsers are told."""

from dataclasses import dataclass

from gateway_http.edge.client_address import ClientAddresses
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
