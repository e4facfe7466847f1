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
from dataclasses import dataclass
from functools import partial

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


def _learn_nothing() -> None:
    """The request tells nothing about whose its token is."""


@dataclass(frozen=True, slots=True)
class Admission:
    """How the limits answer a request. `headers` belong to its response whatever comes of it.
    `refusal` is to be raised in place of serving it. `succeeded` is called when a service has
    done what was asked, which verified the token."""

    headers: HeaderList
    refusal: RateLimited | None = None
    succeeded: Callable[[], None] = _learn_nothing


UNLIMITED = Admission([])


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
        self, limit_class: LimitClass, client_address: str, authorization: str | None
    ) -> Admission:
        """Counts a request."""
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
    """The one that refuses, or has less left."""
    return other if not other.admitted or other.remaining < one.remaining else one
