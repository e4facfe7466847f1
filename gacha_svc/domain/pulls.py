"""The types of a pull: in both databases, and for the player."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.draw import DrawnItem
from gacha_svc.domain.odds.next_pull import RarityAhead
from gacha_svc.domain.pity import Pity


class Debit(NamedTuple):
    """The account's part of a pull."""

    user_id: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class Draw:
    """The gacha's part of a pull, with the odds version that its price belongs to."""

    user_id: str
    banner_id: str
    count: int
    cost_gems: int
    odds_version: str


class PulledItem(NamedTuple):
    """One item of a pull, with its name at the time."""

    item_id: int
    name: str
    rarity: str


class Pull(NamedTuple):
    """A completed draw: its items, with the pull's id, and the pity of that kind after it."""

    pull_id: str
    draw: Draw
    kind: str
    seed: str
    """What it was drawn by, a UUID."""
    pity_after: Pity
    items: tuple[DrawnItem, ...]


@dataclass(frozen=True, slots=True)
class PullRecord:
    """A stored pull; `number` grows with every pull of the database."""

    number: int
    pull_id: str
    draw: Draw
    items: tuple[DrawnItem, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BannerPity:
    """A player's pity on a banner, and the next pull that follows from it."""

    banner: Banner
    odds_version: str
    pity: Pity
    next_pull: tuple[RarityAhead, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """How many of one item a player owns."""

    item: Item
    count: int


def pulled(items: tuple[DrawnItem, ...]) -> tuple[PulledItem, ...]:
    """The items of a pull in the player's answer."""
    return tuple(PulledItem(drawn.item.id, drawn.item.name, drawn.item.rarity) for drawn in items)
