"""Bounds the calls under way of each caller, so that one caller cannot occupy the gateway.

Guarantees: at most `of_player` calls of one player are under way here, as many of one address
with tokens that name nobody, and `of_address` calls of one address to public routes. These three
count apart: a forged token takes no place of a player, and no place of those who log in. All
players at one address together have at most `of_address_players`. The /56 and the /48 of an IPv6
address have bounds of their own, as for rate limits. All calls of one such network together have
at most `of_network`, however wide it is and whatever they are. A call above a bound is refused
before it is sent on.

Each gateway counts for itself. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gateway_http.edge.callers import Caller, Kind
from mesh.addresses import NETWORK_FACTOR, REMEMBERED_ADDRESSES, networks_of
from mesh.errors import ResourceExhausted

RETRY_AFTER_SECONDS = 1.0


class Policy(StrEnum):
    """What is counted together. The value is the name under which refusals are counted."""

    PLAYER = "player-in-flight"
    UNVERIFIED = "unverified-in-flight"
    ADDRESS = "address-in-flight"
    ADDRESS_PLAYERS = "address-players-in-flight"
    NETWORK = "network-in-flight"


_WHO = {
    Policy.PLAYER: "This player has",
    Policy.UNVERIFIED: "This address has, without a valid token,",
    Policy.ADDRESS: "This address has",
    Policy.ADDRESS_PLAYERS: "The players at this address have",
    Policy.NETWORK: "This network has",
}
_OF_NETWORKS = {
    Kind.PLAYER: Policy.ADDRESS_PLAYERS,
    Kind.UNVERIFIED: Policy.UNVERIFIED,
    Kind.ADDRESS: Policy.ADDRESS,
}
_Key = tuple[Policy, str]


@dataclass(frozen=True, slots=True)
class CallBounds:
    """How many calls may be under way at a time; see this module."""

    of_player: int
    of_address: int
    of_address_players: int
    of_network: int


class TooManyCalls(ResourceExhausted):
    """The caller has as many calls under way as it may have. The call did no work."""

    REASON = "TOO_MANY_CALLS"

    def __init__(self, policy: Policy, bound: int) -> None:
        super().__init__(
            f"{_WHO[policy]} {bound} calls under way, which is the bound; "
            "wait for their answers, then try again.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


class CallsInFlight:
    """The calls under way, by caller."""

    def __init__(
        self, bounds: CallBounds, count_refusal: Callable[[str], None] = lambda policy: None
    ) -> None:
        """`count_refusal` receives the value of a Policy."""
        self._bounds = {
            Policy.PLAYER: bounds.of_player,
            Policy.UNVERIFIED: bounds.of_player,
            Policy.ADDRESS: bounds.of_address,
            Policy.ADDRESS_PLAYERS: bounds.of_address_players,
            Policy.NETWORK: bounds.of_network,
        }
        self._count_refusal = count_refusal
        self._counts: dict[_Key, int] = {}
        self._bounded = lru_cache(REMEMBERED_ADDRESSES)(self._find_bounded)

    @property
    def caller_count(self) -> int:
        """How many counts of players and networks are not zero."""
        return len(self._counts)

    def enter(self, caller: Caller) -> None:
        """Begins a call; pair it with `leave`. Raises TooManyCalls, and then counts nothing."""
        keys, counts = self._bounded(caller), self._counts
        for key, bound in keys:
            if counts.get(key, 0) >= bound:
                self._count_refusal(key[0].value)
                raise TooManyCalls(key[0], bound)
        for key, _ in keys:
            counts[key] = counts.get(key, 0) + 1

    def leave(self, caller: Caller) -> None:
        """Ends a call."""
        counts = self._counts
        for key, _ in self._bounded(caller):
            if counts[key] > 1:
                counts[key] -= 1
            else:
                del counts[key]

    def _find_bounded(self, caller: Caller) -> tuple[tuple[_Key, int], ...]:
        """What a call counts for, and the bound of each."""
        return tuple((key, self._bounds[key[0]] * factor) for key, factor in _keys(caller))


def _keys(caller: Caller) -> tuple[tuple[_Key, int], ...]:
    """What a call counts for, and by what the bound of that is multiplied."""
    keys: list[tuple[_Key, int]] = []
    if caller.kind is Kind.PLAYER:
        keys.append(((Policy.PLAYER, caller.player), 1))
    for number, network in enumerate(networks_of(caller.address)):
        keys.append(((_OF_NETWORKS[caller.kind], network), NETWORK_FACTOR**number))
        keys.append(((Policy.NETWORK, network), 1))
    return tuple(keys)
