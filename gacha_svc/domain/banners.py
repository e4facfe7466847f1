"""Items and banners, as the catalog defines them: terms to draw by, and an offer of them.

Every `Banner` guarantees that its pulls give each rarity. So all figures of its odds are finite.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gacha_svc.domain.field_types import (
    MAX_GEMS,
    Fault,
    ItemId,
    Model,
    Name,
    Sentence,
    Slug,
    require_distinct,
    require_some,
)
from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.rates import impossible_rarities
from gacha_svc.domain.terms import Terms


class Item(Model):
    """Something that can be pulled."""

    id: ItemId
    name: Name
    rarity: Rarity


class Banner(Terms):
    """Terms that are offered to players, under a name and at a price."""

    id: Slug
    name: Name
    description: Sentence
    price_gems: Annotated[int, Field(ge=1, le=MAX_GEMS // 10)]
    """For one pull; ten cost ten times that."""
    pull_counts: Annotated[
        tuple[int, ...],
        Field(max_length=2),
        AfterValidator(require_some),
        AfterValidator(require_distinct),
    ] = (1, 10)
    pull_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The most pulls of a player on this banner; 0 for no limit."""

    @property
    def offer(self) -> dict[str, Any]:
        """The fields that are not terms, as JSON values."""
        return self.model_dump(mode="json", exclude=set(Terms.model_fields))

    def _faults(self) -> Iterator[Fault]:
        if not set(self.pull_counts) <= {1, 10}:
            yield Fault(("pull_counts",), "must hold 1, 10 or both, and nothing else")
        if 0 < self.pull_limit < min(self.pull_counts):
            yield Fault(("pull_limit",), "is below every number in pull_counts; raise it")
        if self.ten_pull_guarantee is not None and 10 not in self.pull_counts:
            yield Fault(("ten_pull_guarantee",), "needs 10 in pull_counts; add it")
        faults = list(super()._faults())
        yield from faults or self._impossible()

    def _impossible(self) -> Iterator[Fault]:
        for rarity in impossible_rarities(self):
            yield Fault(
                ("rules", RARITIES.index(rarity)),
                f"can never give anything {rarity}, because rates or pity of the others leave no "
                "room; lower those",
            )
