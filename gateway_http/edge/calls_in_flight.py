"""Bounds the calls under way of each caller, so that one caller cannot occupy the gateway.

Guarantees: at most `max_of_player` calls of one player are under way here, as many of one address
with tokens that name nobody, and `max_of_address` calls of one address to public routes. These
three count apart: a forged token takes no place of a player, and no place of those who log in. The
/56 and the /48 of an IPv6 address have bounds of their own, as for rate limits. A call above the
bound is refused before it is sent on.

Each gateway counts for itself. Pure.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from gateway_http.edge.callers import Caller, Kind
from mesh.addresses import NETWORK_FACTOR, networks_of
from mesh.errors import ResourceExhausted

RETRY_AFTER_SECONDS = 1.0
POLICIES = {
    Kind.PLAYER: "player-in-flight",
    Kind.UNVERIFIED: "unverified-in-flight",
    Kind.ADDRESS: "address-in-flight",
}
"""The names under which refusals are counted."""
_WHO = {
    Kind.PLAYER: "This player has",
    Kind.UNVERIFIED: "This address has, without a valid token,",
    Kind.ADDRESS: "This address has",
}


class TooManyCalls(ResourceExhausted):
    """The caller has as many calls under way as it may have. The call did no work."""

    REASON = "TOO_MANY_CALLS"

    def __init__(self, kind: Kind, bound: int) -> None:
        super().__init__(
            f"{_WHO[kind]} {bound} calls under way, which is the bound; "
            "wait for their answers, then try again.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


class CallsInFlight:
    """The calls under way, by caller."""

    def __init__(
        self,
        max_of_player: int,
        max_of_address: int,
        count_refusal: Callable[[str], None] = lambda policy: None,
    ) -> None:
        """`count_refusal` receives one of POLICIES."""
        self._bounds = {
            Kind.PLAYER: max_of_player,
            Kind.UNVERIFIED: max_of_player,
            Kind.ADDRESS: max_of_address,
        }
        self._count_refusal = count_refusal
        self._counts: Counter[tuple[Kind, str]] = Counter()

    @property
    def caller_count(self) -> int:
        """How many players and networks have calls under way."""
        return len(self._counts)

    def enter(self, caller: Caller) -> None:
        """Begins a call; pair it with `leave`. Raises TooManyCalls, and then counts nothing."""
        bound = self._bounds[caller.kind]
        keys = _keys(caller)
        for number, key in enumerate(keys):
            if self._counts[key] >= bound * NETWORK_FACTOR**number:
                self._count_refusal(POLICIES[caller.kind])
                raise TooManyCalls(caller.kind, bound * NETWORK_FACTOR**number)
        self._counts.update(keys)

    def leave(self, caller: Caller) -> None:
        """Ends a call."""
        for key in _keys(caller):
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


def _keys(caller: Caller) -> Sequence[tuple[Kind, str]]:
    """What a call counts for, the narrowest first."""
    if caller.kind is Kind.PLAYER:
        return ((caller.kind, caller.player),)
    return [(caller.kind, network) for network in networks_of(caller.address)]
