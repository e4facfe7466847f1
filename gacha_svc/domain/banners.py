"""Items and banners, as the catalog defines them and the database stores them.

Guaranteed of every `Banner` and `Catalog` that exists: rates add up to exactly
100 %, every rarity has an item to give, promises can be kept, and every item id
leads to an item of the right rarity. Rates are whole parts per million (ppm), so
that what is published is, to the last digit, what is drawn from.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.schema import (
    CERTAIN_PPM,
    MAX_BANNERS,
    MAX_GEMS,
    MAX_ITEMS,
    Fault,
    ItemId,
    ItemIds,
    Model,
    Name,
    PityPull,
    RatePpm,
    Sentence,
    Slug,
    refuse,
    require_distinct,
    require_some,
)


class Item(Model):
    """Something that can be pulled."""

    id: ItemId
    name: Name
    rarity: Rarity


class SoftPity(Model):
    """From pull `from_pull` on, each pull raises the rate by `step_ppm` more."""

    from_pull: PityPull
    step_ppm: Annotated[int, Field(ge=100, le=CERTAIN_PPM)]


class Featured(Model):
    """The items that a banner is about, and their share of their rarity's draws.

    After a draw that gave another item, the next of the rarity is featured for certain.
    """

    item_ids: Annotated[ItemIds, AfterValidator(require_some)]
    share_ppm: Annotated[int, Field(ge=1, le=CERTAIN_PPM)]


class RarityRule(Model):
    """How one rarity is drawn on a banner.

    Pulls are counted from the last of this rarity or above, 1 for the first after it.
    """

    rarity: Rarity
    base_rate_ppm: RatePpm
    soft_pity: SoftPity | None = None
    hard_pity: PityPull | None = None
    """The pull at which this rarity or above is certain."""
    featured: Featured | None = None
    item_ids: ItemIds = ()
    """The standard pool; a featured item may stand in it, and counts as featured."""

    @property
    def has_pity(self) -> bool:
        return self.soft_pity is not None or self.hard_pity is not None

    @cached_property
    def featured_ids(self) -> tuple[int, ...]:
        return self.featured.item_ids if self.featured else ()

    @cached_property
    def standard_ids(self) -> tuple[int, ...]:
        """The pool without its featured items."""
        return tuple(sorted(set(self.item_ids) - set(self.featured_ids)))

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if not self.item_ids and not self.featured:
            yield Fault(("item_ids",), "is empty; list at least one item of this rarity")
        if self.soft_pity and self.hard_pity and self.hard_pity < self.soft_pity.from_pull:
            yield Fault(
                ("hard_pity",),
                f"is below soft_pity's from_pull ({self.soft_pity.from_pull}), which would "
                "never be reached; raise it, or leave soft_pity out",
            )
        if self.base_rate_ppm == 0 and not self.has_pity:
            yield Fault(
                ("base_rate_ppm",),
                "is 0 and there is no pity, so no pull gives this rarity; raise it",
            )


class Banner(Model):
    """What can be pulled, at which price and odds."""

    id: Slug
    name: Name
    description: Sentence
    kind: Slug
    """Banners of one kind share their pity."""
    price_gems: Annotated[int, Field(ge=1, le=MAX_GEMS // 10)]
    """For one pull; ten cost ten times that."""
    pull_counts: Annotated[
        tuple[int, ...],
        Field(max_length=2),
        AfterValidator(require_some),
        AfterValidator(require_distinct),
    ] = (1, 10)
    pull_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Pulls that a player has on this banner in all; 0 for no limit."""
    ten_pull_guarantee: Rarity | None = None
    """Ten pulls at once give at least one of this rarity or above."""
    rules: Annotated[tuple[RarityRule, ...], Field(max_length=len(RARITIES))]
    """One for each rarity, highest first."""

    @cached_property
    def odds_version(self) -> str:
        """Names this definition: 12 hexadecimal digits that change with any of it."""
        definition = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(definition.encode()).hexdigest()[:12]

    def rule(self, rarity: Rarity) -> RarityRule:
        """How this rarity is drawn."""
        return self.rules[RARITIES.index(rarity)]

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if not set(self.pull_counts) <= {1, 10}:
            yield Fault(("pull_counts",), "must hold 1, 10 or both, and nothing else")
        if 0 < self.pull_limit < min(self.pull_counts):
            yield Fault(("pull_limit",), "allows not even one request of pull_counts; raise it")
        if self.ten_pull_guarantee is not None and 10 not in self.pull_counts:
            yield Fault(("ten_pull_guarantee",), "needs 10 in pull_counts; add it")
        if self.ten_pull_guarantee is RARITIES[-1]:
            yield Fault(
                ("ten_pull_guarantee",),
                f"promises nothing, since every pull is {RARITIES[-1]} or above; leave it out",
            )
        if tuple(rule.rarity for rule in self.rules) != RARITIES:
            yield Fault(("rules",), f"must have one rule each for {', '.join(RARITIES)}, in order")
        else:
            yield from self._rate_faults()

    def _rate_faults(self) -> Iterator[Fault]:
        total_ppm = sum(rule.base_rate_ppm for rule in self.rules)
        if total_ppm != CERTAIN_PPM:
            yield Fault(
                ("rules",),
                f"add up to a base_rate of {Decimal(total_ppm) / 10_000} %; make it 100 %",
            )
        lowest = self.rules[-1]
        if lowest.has_pity:
            field = "soft_pity" if lowest.soft_pity else "hard_pity"
            yield Fault(
                ("rules", len(RARITIES) - 1, field),
                "cannot be, since the lowest rarity gets what the others leave; leave it out",
            )


class Catalog(Model):
    """Every item, and the banners in the order in which players see them."""

    items: Annotated[tuple[Item, ...], Field(max_length=MAX_ITEMS), AfterValidator(require_some)]
    banners: Annotated[
        tuple[Banner, ...], Field(max_length=MAX_BANNERS), AfterValidator(require_some)
    ]

    @cached_property
    def items_by_id(self) -> Mapping[int, Item]:
        return MappingProxyType({item.id: item for item in self.items})

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        refuse(catalog_faults(dict(enumerate(self.items)), dict(enumerate(self.banners))))
        return self


def catalog_faults(items: Mapping[int, Item], banners: Mapping[int, Banner]) -> Iterator[Fault]:
    """What is wrong between items and banners, each given by its position in the catalog."""
    items_by_id: dict[int, Item] = {}
    for position, item in items.items():
        if item.id in items_by_id:
            yield Fault(("items", position, "id"), f"{item.id} is taken; give another number")
        items_by_id.setdefault(item.id, item)
    first_by_id: dict[str, Banner] = {}
    first_by_kind: dict[str, Banner] = {}
    for position, banner in banners.items():
        if banner.id in first_by_id:
            yield Fault(("banners", position, "id"), f"{banner.id} is taken; give another id")
        first_by_id.setdefault(banner.id, banner)
        model = first_by_kind.setdefault(banner.kind, banner)
        yield from _reference_faults(position, banner, items_by_id)
        yield from _kind_faults(position, banner, model)


def _reference_faults(
    position: int, banner: Banner, items_by_id: Mapping[int, Item]
) -> Iterator[Fault]:
    for rule_position, rule in enumerate(banner.rules):
        path = ("banners", position, "rules", rule_position)
        for field, item_ids in (
            (("item_ids",), rule.item_ids),
            (("featured", "item_ids"), rule.featured_ids),
        ):
            for item_id in item_ids:
                item = items_by_id.get(item_id)
                if item is None:
                    yield Fault(
                        path + field,
                        f"names item {item_id}, which does not exist; correct it or add it",
                    )
                elif item.rarity is not rule.rarity:
                    yield Fault(
                        path + field,
                        f"names item {item_id}, which is {item.rarity}; list it there instead",
                    )


def _kind_faults(position: int, banner: Banner, model: Banner) -> Iterator[Fault]:
    """Pity that is carried over must mean the same: else it is gathered where it is easy."""
    for rule_position, (rule, other) in enumerate(zip(banner.rules, model.rules, strict=True)):
        path = ("banners", position, "rules", rule_position)
        for field in ("base_rate_ppm", "soft_pity", "hard_pity"):
            if getattr(rule, field) != getattr(other, field):
                yield Fault(
                    (*path, field),
                    f"differs from that of {model.id}, with which the kind {banner.kind} shares "
                    "its pity; make them equal, or give this banner a kind of its own",
                )
