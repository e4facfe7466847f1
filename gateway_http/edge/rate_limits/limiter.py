"""Applies the rate limits to a request, and describes their state in the response headers.

    address   by the client's address  every request
    sign-in   by the client's address  public calls whose proto declares WORK_KIND_HASHING:
                                       Register, Login
    player    by the player            calls that need a token

The probes /healthz and /readyz have no limits. A request is counted against its limits in this
order. If one refuses it, it still counts against the limits before that one. The headers describe
the limit with the fewest remaining requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway_http.edge.rate_limits.callers import Callers
from gateway_http.edge.rate_limits.counters import Counters, Standing
from gateway_http.exchange import HeaderList, LimitClass
from mesh.errors import ResourceExhausted

_MESSAGES = {
    "address": "Too many requests from this address",
    "sign-in": "Too many attempts to register or log in from this address",
    "player": "Too many requests by this player",
}


class RateLimited(ResourceExhausted):
    """A limit is exceeded; `standing` is its state."""

    REASON = "RATE_LIMITED"

    def __init__(self, standing: Standing) -> None:
        super().__init__(
            f"{_MESSAGES[standing.policy.name]}; try again in {standing.whole_seconds} s.",
            retry_after_seconds=standing.seconds,
        )


def _learn_nothing() -> None:
    """The answer verifies no new token."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits' decision on a request. `headers` belong to every response to it. If `refusal`
    is set, it is raised and the request is not served. `succeeded` is called when a service has
    answered with success, which verifies the token."""

    headers: HeaderList
    refusal: RateLimited | None = None
    succeeded: Callable[[], None] = _learn_nothing


UNLIMITED = Admission([])


class RateLimiter:
    """Counts requests in the counters of the three policies."""

    def __init__(
        self,
        address: Counters,
        sign_in: Counters,
        player: Counters,
        callers: Callers,
        count_refusal: Callable[[str], None],
    ) -> None:
        """`count_refusal` is called with the name of the policy that refuses."""
        self._address, self._sign_in, self._player = address, sign_in, player
        self._callers = callers
        self._count_refusal = count_refusal
        first = address.policy.header
        self._policies = {
            address: first,
            sign_in: f"{first}, {sign_in.policy.header}",
            player: f"{first}, {player.policy.header}",
        }

    @property
    def counters(self) -> Sequence[Counters]:
        return self._address, self._sign_in, self._player

    def admit(
        self, limit_class: LimitClass, client_address: str, authorization: str | None
    ) -> Admission:
        """Counts a request against its limits."""
        if limit_class is LimitClass.UNLIMITED:
            return UNLIMITED
        standing, counters = self._address.take(client_address), self._address
        succeeded = _learn_nothing
        if standing.admitted and limit_class is not LimitClass.ADDRESS:
            key = client_address
            if limit_class is LimitClass.SIGN_IN:
                counters = self._sign_in
            elif authorization is not None:
                counters = self._player
                key, is_known = self._callers.of(authorization)
                if not is_known:
                    succeeded = partial(self._callers.believe, authorization)
            if counters is not self._address:
                standing = _narrower(standing, counters.take(key))
        headers = [
            ("ratelimit-policy", self._policies[counters]),
            ("ratelimit", standing.header),
        ]
        if standing.admitted:
            return Admission(headers, succeeded=succeeded)
        self._count_refusal(standing.policy.name)
        return Admission(headers, RateLimited(standing))


def _narrower(one: Standing, other: Standing) -> Standing:
    """The limit that refuses, or the one with fewer remaining requests."""
    return other if not other.admitted or other.remaining < one.remaining else one
