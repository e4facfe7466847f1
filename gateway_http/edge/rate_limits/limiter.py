"""Which limits a request falls under, and what is said when one is exceeded.

    address   by the client's address  every request
    sign-in   by the client's address  public calls whose proto declares WORK_KIND_HASHING:
                                       Register, Login
    player    by the player            calls that need a token

The probes /healthz and /readyz fall under none. A request counts against its limits in this
order, and one that is refused counts against those that admitted it. What is told of is
the limit that has the least left.
"""

from collections.abc import Callable, Sequence

from gateway_http.edge.rate_limits.callers import Callers
from gateway_http.edge.rate_limits.counters import Counters, Standing
from gateway_http.exchange import HeaderList, LimitClass
from mesh.errors import ResourceExhausted

_SAID_OF = {
    "address": "Too many requests from this address",
    "sign-in": "Too many attempts to register or log in from this address",
    "player": "Too many requests by this player",
}


class RateLimited(ResourceExhausted):
    """More requests than a limit admits; `standing` is how it stands."""

    REASON = "RATE_LIMITED"

    def __init__(self, standing: Standing) -> None:
        super().__init__(
            f"{_SAID_OF[standing.policy.name]}; try again in {standing.whole_seconds} s.",
            retry_after_seconds=standing.seconds,
        )


class RateLimiter:
    """Counts requests, in the counters of three policies that have these names."""

    def __init__(
        self,
        address: Counters,
        sign_in: Counters,
        player: Counters,
        callers: Callers,
        count_refusal: Callable[[str], None],
    ) -> None:
        """`count_refusal` is told the name of the policy."""
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
        self,
        limit_class: LimitClass,
        client_address: str,
        authorization: str | None,
        told: HeaderList,
    ) -> str | None:
        """Counts a request, and adds to `told` the headers of its answer, also when it
        raises RateLimited. Returns the token that `succeeded` should hear of, if any."""
        if limit_class is LimitClass.UNLIMITED:
            return None
        standing, counters, unknown = self._address.take(client_address), self._address, None
        if standing.admitted and limit_class is not LimitClass.ADDRESS:
            key = client_address
            if limit_class is LimitClass.SIGN_IN:
                counters = self._sign_in
            elif authorization is not None:
                counters = self._player
                key, is_known = self._callers.of(authorization)
                unknown = None if is_known else authorization
            if counters is not self._address:
                standing = _narrower(standing, counters.take(key))
        told.append(("ratelimit-policy", self._policies[counters]))
        told.append(("ratelimit", standing.header))
        if not standing.admitted:
            self._count_refusal(standing.policy.name)
            raise RateLimited(standing)
        return unknown

    def succeeded(self, token: str) -> None:
        """A service has done the call that bore this token, so it was verified."""
        self._callers.believe(token)


def _narrower(one: Standing, other: Standing) -> Standing:
    """The one that refuses, or has less left."""
    return other if not other.admitted or other.remaining < one.remaining else one
