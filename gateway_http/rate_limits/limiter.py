"""Which limits a request falls under, and what is said when one is exceeded.

    address   by the client's address  every request
    sign-in   by the client's address  public calls that change something by a JSON body:
                                       register, login
    player    by the player            calls that need a token

The probes /healthz and /readyz fall under none. A request counts against its limits in this
order, and one that is refused counts against those that admitted it. What is told of is
the limit that has the least left.
"""

from collections.abc import Sequence

from gateway_http.exchange import HeaderList, LimitClass
from gateway_http.rate_limits.callers import Callers
from gateway_http.rate_limits.counters import Counters, Standing
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
        self, address: Counters, sign_in: Counters, player: Counters, callers: Callers
    ) -> None:
        self._address, self._sign_in, self._player = address, sign_in, player
        self._callers = callers
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
    ) -> None:
        """Counts a request, and adds to `told` the headers of its answer, also when it
        raises RateLimited."""
        if limit_class is LimitClass.UNLIMITED:
            return
        standing = self._address.take(client_address)
        counters, key = self._narrower(limit_class, client_address, authorization)
        if standing.admitted and counters is not self._address:
            narrower = counters.take(key)
            if not narrower.admitted or narrower.remaining < standing.remaining:
                standing = narrower
        told.append(("ratelimit-policy", self._policies[counters]))
        told.append(("ratelimit", standing.header))
        if not standing.admitted:
            raise RateLimited(standing)

    def succeeded(self, limit_class: LimitClass, authorization: str | None) -> None:
        """A service has done a call: if its class is PLAYER, the token was verified."""
        if limit_class is LimitClass.PLAYER and authorization is not None:
            self._callers.believe(authorization)

    def _narrower(
        self, limit_class: LimitClass, client_address: str, authorization: str | None
    ) -> tuple[Counters, str]:
        """The limit that a request falls under besides its address's, if there is one."""
        if limit_class is LimitClass.SIGN_IN:
            return self._sign_in, client_address
        if limit_class is LimitClass.PLAYER and authorization is not None:
            return self._player, self._callers.of(authorization)
        return self._address, client_address
