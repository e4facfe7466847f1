"""Who hashes a password next, and who is refused, when more come than can be hashed. Pure.

Hashing has three classes, each with a share and a queue of its own:

    class         who                                                      share  waiting
    ------------  -------------------------------------------------------  -----  -------
    KNOWN         an account at an address where its password was right;     4/7       32
                  the new password of a change, after the current one
    STRANGER      any other check of a password                              2/7       24
    REGISTRATION  a new password to hash for a registration                  1/7        8

- A class gets at least its share while it waits, and more while others do not. So neither
  registrations nor strangers can keep players out who log in where they did before.
- Inside a class the sites take turns: an IPv4 address, or an IPv6 /48. A site with many waiting
  attempts gets no more turns than one with a single attempt.
- When a queue is full, the newest attempt of the site with the most waiting is refused. Among
  equals it is the site that had a turn most recently. So sites that come again and again keep
  nobody out: beside N of them a newcomer has a place after at most N turns of its class. Each class
  remembers the turns of MAX_REMEMBERED_SITES, and promises this for so many.
- A queue is shorter while hashes are slow, so that nobody waits for much longer than
  LONGEST_WAIT_SECONDS. When they become slow, those who wait beyond the new length are refused.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from mesh.errors import Overloaded

LONGEST_WAIT_SECONDS = 3.0
SHORTEST_QUEUE = 2
MAX_REMEMBERED_SITES = 1_000

Item = TypeVar("Item")


class HashingBusy(Overloaded):
    """The queue is full; no password was checked. By its own reason it does not speak of the
    whole instance, so callers are not held off: those with a better claim are still served."""

    REASON = "HASHING_BUSY"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            "Too many people are logging in or registering; try again in a moment.",
            retry_after_seconds=retry_after_seconds,
        )


class Urgency(Enum):
    """The classes; a value is the class's weight and its longest queue."""

    KNOWN = (4, 32)
    STRANGER = (2, 24)
    REGISTRATION = (1, 8)

    @property
    def weight(self) -> int:
        return self.value[0]

    @property
    def share(self) -> float:
        """The part of all hashes that the class gets while all classes wait."""
        return self.weight / sum(each.weight for each in Urgency)

    def queue_length(self, seconds_each: float, under_way: int = 0) -> int:
        """How many may wait behind `under_way` hashes while one takes `seconds_each`."""
        timely = int(self.share * (LONGEST_WAIT_SECONDS / seconds_each - under_way))
        return max(SHORTEST_QUEUE, min(timely, self.value[1]))


class _Class(Generic[Item]):
    """The waiting items of one class, by site. `served` is the class's virtual time. `turns` are
    the numbers of the last turns of sites, the oldest first."""

    def __init__(self) -> None:
        self.served = 0.0
        self.sites: OrderedDict[str, deque[Item]] = OrderedDict()
        self.count = 0
        self.turns: OrderedDict[str, int] = OrderedDict()
        self.turn_count = 0

    def push(self, site: str, item: Item) -> None:
        self.sites.setdefault(site, deque()).append(item)
        self.count += 1

    def pop(self) -> Item:
        """The oldest item of the site whose turn it is; the site goes to the end."""
        site, items = next(iter(self.sites.items()))
        item = items.popleft()
        self.sites.move_to_end(site)
        self._took(site)
        self._remember(site)
        return item

    def drop_newest(self, newest_site: str) -> Item:
        """Removes the newest item of the site with the most. Among equals it is the site that had
        a turn most recently; `newest_site` if none of them is remembered."""

        def claim(site: str) -> tuple[int, int, bool]:
            return len(self.sites[site]), self.turns.get(site, 0), site == newest_site

        site = max(self.sites, key=claim)
        item = self.sites[site].pop()
        self._took(site)
        return item

    def remove(self, site: str, item: Item) -> None:
        items = self.sites.get(site)
        if items is not None and item in items:
            items.remove(item)
            self._took(site)

    def _remember(self, site: str) -> None:
        self.turn_count += 1
        self.turns[site] = self.turn_count
        self.turns.move_to_end(site)
        if len(self.turns) > MAX_REMEMBERED_SITES:
            self.turns.popitem(last=False)

    def _took(self, site: str) -> None:
        self.count -= 1
        if not self.sites[site]:
            del self.sites[site]


class HashingQueue(Generic[Item]):
    """Items that wait for their turn."""

    def __init__(self) -> None:
        self._classes: Mapping[Urgency, _Class[Item]] = {each: _Class() for each in Urgency}
        self._now = 0.0

    def __len__(self) -> int:
        return sum(each.count for each in self._classes.values())

    def count(self, urgency: Urgency) -> int:
        """How many of that class wait."""
        return self._classes[urgency].count

    def push(self, urgency: Urgency, site: str, item: Item) -> None:
        """Adds an item. Call `shorten` next."""
        waiting = self._classes[urgency]
        if not waiting.count:
            # A class that did not wait has saved up nothing.
            waiting.served = max(waiting.served, self._now)
        waiting.push(site, item)

    def shorten(
        self, seconds_each: float, under_way: int = 0, newest_site: str = ""
    ) -> list[tuple[Urgency, Item]]:
        """Removes what may not wait while a hash takes `seconds_each` and `under_way` hashes have
        their turn before all. Returns it with its class, to be refused. Nothing is left beyond the
        length of any queue. `newest_site` is that of the newest item. Idempotent."""
        return [
            (urgency, waiting.drop_newest(newest_site))
            for urgency, waiting in self._classes.items()
            for _ in range(waiting.count - urgency.queue_length(seconds_each, under_way))
        ]

    def pop(self) -> Item | None:
        """Removes the item whose turn it is; None if nobody waits."""
        waiting = [each for each in Urgency if self._classes[each].count]
        if not waiting:
            return None
        urgency = min(waiting, key=lambda each: self._classes[each].served)
        chosen = self._classes[urgency]
        self._now = chosen.served
        chosen.served += 1 / urgency.weight
        return chosen.pop()

    def remove(self, urgency: Urgency, site: str, item: Item) -> None:
        """Removes an item whose caller has left. Idempotent."""
        self._classes[urgency].remove(site, item)
