"""Who holds the connections of a server: bounds for each address and for all. Pure.

Guarantees: a new connection finds a place unless all places are busy. If none is free, the
connection that has waited for its client for longest is dropped, be it idle or unfinished. So
nobody keeps others out by connections that do little, and nobody's new connection is the first to
go. One address has a bound of its own, on its connections and on those of them that are
unfinished; so have the networks around an IPv6 address, each NETWORK_FACTOR times that of the next
narrower one. Beyond it, only connections of this address or network end. A busy connection never
ends.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from gateway_http.listening.bounds import Bounds
from mesh.addresses import NETWORK_FACTOR


class State(Enum):
    """What a connection does.

    IDLE: it waits for a request or for its TLS handshake, or it is closing. UNFINISHED: a part
    of a request has arrived, or a part of an answer has been read. BUSY: a request is answered.
    """

    IDLE = "idle"
    UNFINISHED = "unfinished"
    BUSY = "busy"


Sites = tuple[str, ...]
_WAITING = (State.IDLE, State.UNFINISHED)


class Reason(Enum):
    """Why a connection was ended or refused: all places were taken, its address had too many, or
    its address had too many unfinished ones."""

    FULL = "full"
    ADDRESS = "address"
    UNFINISHED = "unfinished"


def _nothing() -> None:
    """The end of a connection that does not exist yet."""


@dataclass(eq=False, slots=True)
class Place:
    """The place of one connection. `sites` are the networks that it counts for, the narrowest
    first, none for nobody. `drop` ends it at once; `give_up` ends it too, with an answer if a
    request is unfinished."""

    sites: Sites
    drop: Callable[[], None] = _nothing
    give_up: Callable[[], None] = _nothing
    state: State = State.IDLE
    has_left: bool = False


@dataclass(slots=True)
class _Group:
    """Places of one address, or all. Those that wait for their clients, the oldest first;
    `unfinished` are some of them."""

    count: int = 0
    waiting: "OrderedDict[Place, None]" = field(default_factory=OrderedDict)
    unfinished: "OrderedDict[Place, None]" = field(default_factory=OrderedDict)

    def move(self, place: Place, old: State | None, new: State | None) -> None:
        """None is the state of a place that is not in the group."""
        if old is State.UNFINISHED:
            del self.unfinished[place]
        if old in _WAITING:
            del self.waiting[place]
        if new in _WAITING:
            self.waiting[place] = None
        if new is State.UNFINISHED:
            self.unfinished[place] = None
        if old is None or new is None:
            self.count += 1 if old is None else -1


class Places:
    """The places of one server."""

    def __init__(
        self, bounds: Bounds, *, count_end: Callable[[Reason], None] = lambda reason: None
    ) -> None:
        """`count_end` is called for each connection that is ended or refused for a bound."""
        self._bounds = bounds
        self._count_end = count_end
        self._all = _Group()
        self._sites: dict[str, _Group] = {}

    @property
    def count(self) -> int:
        """The places that are taken."""
        return self._all.count

    @property
    def has_room(self) -> bool:
        """Whether `take` can find a place for an address below its bound."""
        return self.count < self._bounds.max_connections or bool(self._all.waiting)

    def take(self, sites: Sites) -> Place | None:
        """A place for a new connection, which is idle. Drops another one if necessary. None if
        its address or a network around it has no room. Call it only if `has_room`."""
        for number, site in enumerate(sites):
            group = self._sites.get(site)
            bound = self._bounds.max_address_connections * NETWORK_FACTOR**number
            if group is not None and group.count >= bound:
                self._count_end(Reason.ADDRESS)
                if not group.waiting:
                    return None
                self._drop_oldest(group)
        if self.count >= self._bounds.max_connections:
            self._count_end(Reason.FULL)
            self._drop_oldest(self._all)
        place = Place(sites)
        self._move(place, None, place.state)
        return place

    def move(self, place: Place, state: State, sites: Sites) -> None:
        """The connection changes its state, or counts for other sites. May give up the one of
        a site that is unfinished for longest. Ignored after `leave`."""
        if place.has_left or (place.state is state and place.sites == sites):
            return
        old: State | None = place.state
        place.state = state
        if place.sites != sites:
            self._move(place, old, None)
            place.sites, old = sites, None
        self._move(place, old, state)
        if state is State.UNFINISHED:
            for number, site in enumerate(sites):
                self._bound_unfinished(self._sites.get(site), NETWORK_FACTOR**number)

    def leave(self, place: Place) -> None:
        """The connection has ended. Idempotent."""
        if not place.has_left:
            place.has_left = True
            self._move(place, place.state, None)

    def _bound_unfinished(self, group: _Group | None, times: int) -> None:
        bound = self._bounds.max_address_unfinished * times
        if group is not None and len(group.unfinished) > bound:
            oldest = next(iter(group.unfinished))
            # Giving it up may take effect later, and nobody is to give it up again until then.
            self._move(oldest, oldest.state, State.IDLE)
            oldest.state = State.IDLE
            self._count_end(Reason.UNFINISHED)
            oldest.give_up()

    def _drop_oldest(self, group: _Group) -> None:
        oldest = next(iter(group.waiting))
        self.leave(oldest)
        oldest.drop()

    def _move(self, place: Place, old: State | None, new: State | None) -> None:
        """Moves a place in all of its groups; it may enter or leave them."""
        self._all.move(place, old, new)
        for site in place.sites:
            group = self._sites.get(site)
            if group is None:
                group = self._sites[site] = _Group()
            group.move(place, old, new)
            if not group.count:
                del self._sites[site]
