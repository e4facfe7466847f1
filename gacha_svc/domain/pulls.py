"""A pull as its two databases and its player see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.draw import DrawnItem
from gacha_svc.domain.errors import BannerNotFound, CatalogEmpty


@dataclass(frozen=True, slots=True)
class Debit:
    """The account's part of a pull."""

    user_id: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class Draw:
    """The gacha's part of a pull, at the odds that its price was taken from."""

    user_id: str
    banner_id: str
    count: int
    cost_gems: int
    odds_version: str


@dataclass(frozen=True, slots=True)
class PulledItem:
    """One item that a pull gave, with its name at the time."""

    item_id: int
    name: str
    rarity: str


@dataclass(frozen=True, slots=True)
class Pull:
    """A draw that was done: what was drawn, by the pull's id."""

    pull_id: str
    draw: Draw
    items: tuple[DrawnItem, ...]


@dataclass(frozen=True, slots=True)
class PullRecord:
    """A pull as stored; `number` grows with every pull of the database."""

    number: int
    pull_id: str
    draw: Draw
    items: tuple[DrawnItem, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Holding:
    """How many of one item a player owns."""

    item: Item
    count: int


@dataclass(frozen=True)
class LiveCatalog:
    """The items and banners in force, as read from the database at one revision."""

    revision: int
    items: tuple[Item, ...]
    """Ordered by id."""
    banners: tuple[Banner, ...]
    """In the order in which players see them."""

    @cached_property
    def items_by_id(self) -> Mapping[int, Item]:
        return {item.id: item for item in self.items}

    @cached_property
    def banners_by_id(self) -> Mapping[str, Banner]:
        return {banner.id: banner for banner in self.banners}

    def banner(self, banner_id: str) -> Banner:
        """Raises CatalogEmpty before the first introduction, and BannerNotFound."""
        if not self.banners:
            raise CatalogEmpty
        found = self.banners_by_id.get(banner_id)
        if found is None:
            raise BannerNotFound(banner_id)
        return found

    def first_banner(self) -> Banner:
        """Raises CatalogEmpty before the first introduction."""
        if not self.banners:
            raise CatalogEmpty
        return self.banners[0]


def pulled(items: tuple[DrawnItem, ...]) -> tuple[PulledItem, ...]:
    """What a player is answered, of what was drawn."""
    return tuple(PulledItem(drawn.item.id, drawn.item.name, drawn.item.rarity) for drawn in items)
