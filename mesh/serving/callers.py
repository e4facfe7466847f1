"""Bounds that keep the places of members for members, and those of strangers for many. Pure.

Members, whose token names a known service or an operator, have places of their own. Strangers have
others, and one site (an IPv4 address, or an IPv6 /64) has a bounded part of those.
"""

from collections import Counter
from dataclasses import dataclass

MEMBER = None
Caller = str | None
"""MEMBER, or the site of a stranger."""


@dataclass(frozen=True, slots=True)
class CallerBounds:
    """How many places members have, how many strangers, and of these how many one site."""

    members: int
    strangers: int
    address: int


class CallerCounts:
    """The places of one kind that are taken."""

    def __init__(self, bounds: CallerBounds) -> None:
        self._bounds = bounds
        self._member_count = 0
        self._strangers: Counter[str] = Counter()
        self._stranger_count = 0

    def reached(self, caller: Caller) -> tuple[int, str] | None:
        """The bound that leaves no place to this caller, and in words whose it is. None if there
        is a place."""
        bounds = self._bounds
        if caller is MEMBER:
            if self._member_count >= bounds.members:
                return bounds.members, "members of the mesh"
        elif self._strangers[caller] >= bounds.address:
            return bounds.address, "callers of this address"
        elif self._stranger_count >= bounds.strangers:
            return bounds.strangers, "callers who are no members of the mesh"
        return None

    def site_to_give_up(self, newcomer: str) -> str:
        """The site that has to make room for a stranger who finds no place: the newcomer's own if
        it is at its bound, else the one that holds the most."""
        if self._strangers[newcomer] >= self._bounds.address:
            return newcomer
        return max(self._strangers, key=self._strangers.__getitem__)

    def add(self, caller: Caller, places: int) -> None:
        """Takes places, also beyond the bounds. A negative number gives them back."""
        if caller is MEMBER:
            self._member_count += places
            return
        self._stranger_count += places
        self._strangers[caller] += places
        if not self._strangers[caller]:
            del self._strangers[caller]
