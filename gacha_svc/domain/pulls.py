"""A pull as its two databases and its player see it."""

from dataclasses import dataclass
from datetime import datetime

from gacha_svc.domain.banners import Item
from gacha_svc.domain.draw import DrawnItem


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


def pulled(items: tuple[DrawnItem, ...]) -> tuple[PulledItem, ...]:
    """What a player is answered, of what was drawn."""
    return tuple(PulledItem(drawn.item.id, drawn.item.name, drawn.item.rarity) for drawn in items)
