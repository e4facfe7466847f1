"""Applies the rate limits to a request, and describes their state in the response headers.

    address   by the client's address  every request
    sign-in   by the client's address  public calls whose proto declares WORK_KIND_HASHING:
                                       Register, Login
    player    by the player            calls with a valid token, where one is needed

An IPv6 address counts by its /64, and with wider quotas by its /56 and its /48.

The probes /healthz and /readyz have no limits. A request is counted against its limits in this
order. If one refuses it, it still counts against the limits before that one. The headers describe
the limit with the fewest remaining requests.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway_http.edge.callers import Caller
from gateway_http.edge.rate_limits.counters import Counters, Standing
from gateway_http.edge.rate_limits.network_counters import NetworkCounters
from gateway_http.exchange import HeaderList, LimitClass
from mesh.errors import ResourceExhausted


class RateLimited(ResourceExhausted):
    """A limit is exceeded; `standing` is its state."""

    REASON = "RATE_LIMITED"

    def __init__(self, standing: Standing) -> None:
        super().__init__(
            f"{standing.policy.refusal}; try again in {standing.whole_seconds} s.",
            retry_after_seconds=standing.seconds,
        )


class Admission(NamedTuple):
    """The limits' decision on a request. `headers` belong to every response to it. If `refusal`
    is set, it is raised and the request is not served."""

    headers: HeaderList
    refusal: RateLimited | None = None


UNLIMITED = Admission([])


class RateLimiter:
    """Counts requests against the limit of their class and against that of their address."""

    def __init__(
        self,
        counters: Mapping[LimitClass, Counters | NetworkCounters],
        count_refusal: Callable[[str], None],
    ) -> None:
        """`counters` has an entry for every class except UNLIMITED. `count_refusal` receives the
        policy's name."""
        assert counters.keys() == set(LimitClass) - {LimitClass.UNLIMITED}, "a limit for each class"
        self._counters = dict(counters)
        self._count_refusal = count_refusal
        first = counters[LimitClass.ADDRESS].policy.header
        self._policy_headers = {
            limit_class: f"{first}, {each.policy.header}" for limit_class, each in counters.items()
        } | {LimitClass.ADDRESS: first}

    @property
    def counters(self) -> Sequence[Counters]:
        """Those of all classes: what gateways share."""
        return tuple(part for each in self._counters.values() for part in each.parts)

    def admit(self, limit_class: LimitClass, caller: Caller) -> Admission:
        """Counts a request against its limits."""
        if limit_class is LimitClass.UNLIMITED:
            return UNLIMITED
        counted = LimitClass.ADDRESS
        standing = self._counters[counted].take(caller.address)
        if standing.admitted and limit_class is not LimitClass.ADDRESS:
            key = caller.player if limit_class is LimitClass.PLAYER else caller.address
            if key:
                standing = _narrower(standing, self._counters[limit_class].take(key))
                counted = limit_class
        headers = [
            ("ratelimit-policy", self._policy_headers[counted]),
            ("ratelimit", standing.header),
        ]
        if standing.admitted:
            return Admission(headers)
        self._count_refusal(standing.policy.name)
        return Admission(headers, RateLimited(standing))


def _narrower(one: Standing, other: Standing) -> Standing:
    """The limit that refuses, or the one with fewer remaining requests."""
    return other if not other.admitted or other.remaining < one.remaining else one
