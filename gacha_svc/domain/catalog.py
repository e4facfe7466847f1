"""The catalog: every item and every banner, in the designers' file and in force.

Every `Catalog` guarantees: ids are unique, every item id refers to an item of the right rarity,
and banners that share their pity have equal rates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.errors import BannerNotFound, CatalogEmpty
from gacha_svc.domain.field_types import MAX_BANNERS, MAX_ITEMS, Fault, Model, refuse, require_some


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


@dataclass(frozen=True)
class LiveCatalog:
    """The items and banners in force, as read from the database at one revision."""

    revision: int
    items: tuple[Item, ...]
    """Ordered by id."""
    banners: tuple[Banner, ...]
    """In the order in which players see them."""
    odds_versions: Mapping[str, str]
    """The name of each banner's odds in the database, by the banner's id."""

    def holds(self, catalog: Catalog) -> bool:
        """Whether this is that catalog, under the versions that it has by its own account."""
        return (
            self.items == tuple(sorted(catalog.items, key=lambda item: item.id))
            and [(banner.id, banner.offer) for banner in self.banners]
            == [(banner.id, banner.offer) for banner in catalog.banners]
            and self.odds_versions == {banner.id: banner.odds_version for banner in catalog.banners}
        )

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
            raise BannerNotFound(banner_id, tuple(self.banners_by_id))
        return found

    def first_banner(self) -> Banner:
        """Raises CatalogEmpty before the first introduction."""
        if not self.banners:
            raise CatalogEmpty
        return self.banners[0]


@dataclass(frozen=True, slots=True)
class OddsPeriod:
    """The time in which a banner was drawn by one version of its odds."""

    revision: int
    """Orders the periods of a banner."""
    odds_version: str
    since: datetime
    until: datetime | None
    """None while it is in force."""


def catalog_faults(items: Mapping[int, Item], banners: Mapping[int, Banner]) -> Iterator[Fault]:
    """Faults between items and banners, which are each given by position in the catalog."""
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
    """Banners that share pity need equal rates; otherwise players would collect pity on the
    easier banner."""
    for rule_position, (rule, other) in enumerate(zip(banner.rules, model.rules, strict=True)):
        path = ("banners", position, "rules", rule_position)
        for field in ("base_rate_ppm", "soft_pity", "hard_pity"):
            if getattr(rule, field) != getattr(other, field):
                yield Fault(
                    (*path, field),
                    f"differs from that of {model.id}, with which the kind {banner.kind} shares "
                    "its pity; make them equal, or give this banner a kind of its own",
                )
