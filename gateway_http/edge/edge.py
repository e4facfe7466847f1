"""The parts of the edge that every route shares: client address, response headers, and the bounds
on what one caller may do."""

import asyncio

from gateway_http.edge.callers import Caller, Callers
from gateway_http.edge.calls_in_flight import CallsInFlight
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.headers import authorization_of
from gateway_http.edge.rate_limits.limiter import UNLIMITED, Admission, RateLimiter
from gateway_http.edge.refusal_pace import RefusalPace
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.edge.turns import Turns
from gateway_http.exchange import HttpRequest, LimitClass


class Edge:
    """What is decided about each request before and after its route."""

    def __init__(
        self,
        addresses: ClientAddresses,
        response_headers: ResponseHeaders,
        *,
        callers: Callers,
        calls_in_flight: CallsInFlight,
        limiter: RateLimiter | None,
        refusal_pace: RefusalPace | None,
        max_held: int,
    ) -> None:
        """`limiter` and `refusal_pace` are None if there are no rate limits. At most `max_held`
        refusals are held back at a time; further ones are sent at once."""
        self.addresses = addresses
        self.response_headers = response_headers
        self.calls_in_flight = calls_in_flight
        self.limiter = limiter
        self.turns = Turns()
        self._callers = callers
        self._refusal_pace = refusal_pace
        self._max_held = max_held
        self._held_count = 0

    def known_caller(self, limit_class: LimitClass, request: HttpRequest) -> Caller | None:
        """`caller_of`, if no token has to be verified for it; None otherwise."""
        address = self.addresses.of(request.client, request.headers)
        return self._callers.known(limit_class, address, request.headers.get("authorization"))

    async def caller_of(self, limit_class: LimitClass, request: HttpRequest) -> Caller:
        """Whom a request to a route of that class counts for."""
        address = self.addresses.of(request.client, request.headers)
        return await self._callers.of(limit_class, address, authorization_of(request.headers))

    def admit(self, limit_class: LimitClass, caller: Caller) -> Admission:
        """Counts a request against its rate limits."""
        return UNLIMITED if self.limiter is None else self.limiter.admit(limit_class, caller)

    async def hold_back(self, caller: Caller) -> None:
        """Waits until the caller may get one more refusal."""
        if self._refusal_pace is None or self._held_count >= self._max_held:
            return
        pause_seconds = self._refusal_pace.next_pause_seconds(caller)
        if not pause_seconds:
            return
        self._held_count += 1
        try:
            await asyncio.sleep(pause_seconds)
        finally:
            self._held_count -= 1
