"""The parts of the edge that every route shares: client address, response headers, rate limits."""

from dataclasses import dataclass

from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.headers import authorization_of
from gateway_http.edge.rate_limits.limiter import UNLIMITED, Admission, RateLimiter
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.exchange import HttpRequest, LimitClass
from mesh.addresses import site_of


@dataclass(frozen=True, slots=True)
class Edge:
    """`limiter` is None if there are no rate limits."""

    addresses: ClientAddresses
    limiter: RateLimiter | None
    response_headers: ResponseHeaders

    async def admit(
        self, limit_class: LimitClass, request: HttpRequest, client_address: str
    ) -> Admission:
        """Counts a request against its limits."""
        if self.limiter is None:
            return UNLIMITED
        authorization = authorization_of(request.headers)
        return await self.limiter.admit(limit_class, site_of(client_address), authorization)
