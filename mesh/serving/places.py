"""Places for what callers hold, such as a request that has not arrived. Pure.

When strangers have no place left, the site that holds the most gives up one for the newcomer, the
oldest first. A site at its own bound gives up one of its own. So whoever holds places for long
makes room for those who are quick.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from mesh.serving.callers import MEMBER, Caller, CallerBounds, CallerCounts

Holding = TypeVar("Holding")


class Places(Generic[Holding]):
    """The places of one kind, and who holds them."""

    def __init__(self, bounds: CallerBounds) -> None:
        self._counts = CallerCounts(bounds)
        self._taken: dict[Holding, tuple[Caller, int]] = {}
        self._of_site: dict[str, dict[Holding, None]] = {}

    def reached(self, caller: Caller) -> tuple[int, str] | None:
        """As `mesh.serving.callers.CallerCounts.reached`."""
        return self._counts.reached(caller)

    def take(self, caller: Caller, holding: Holding, places: int = 1) -> None:
        """Takes places, also beyond the bounds. A holding has places once at a time."""
        assert holding not in self._taken, "a holding has its places already"
        self._taken[holding] = caller, places
        self._counts.add(caller, places)
        if caller is not MEMBER:
            self._of_site.setdefault(caller, {})[holding] = None

    def give_back(self, holding: Holding) -> bool:
        """Frees the places of a holding. Returns whether it still had them. Idempotent."""
        taken = self._taken.pop(holding, None)
        if taken is None:
            return False
        caller, places = taken
        self._counts.add(caller, -places)
        if caller is not MEMBER:
            of_site = self._of_site[caller]
            del of_site[holding]
            if not of_site:
                del self._of_site[caller]
        return True

    def in_the_way_of(self, site: str) -> Iterator[Holding]:
        """What may give up its places for a newcomer of that site, in this order. Empty while the
        site has a place."""
        if self._counts.reached(site) is None:
            return iter(())
        most = self._counts.site_to_give_up(site)
        return iter(self._of_site.get(most, ()))
