"""What a banner's pulls are drawn by.

Every `Terms` guarantees: its rates add up to exactly 100 %, every rarity has an item, and its
promises can be kept. Rates are whole parts per million (ppm), so that the published rates are
exactly those of the draws.
"""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from gacha_svc.domain.field_types import (
    CERTAIN_PPM,
    Fault,
    ItemIds,
    Model,
    PityPull,
    RatePpm,
    Slug,
    refuse,
    require_some,
)
from gacha_svc.domain.rarities import RARITIES, Rarity


class SoftPity(Model):
    """From pull `from_pull` on, each pull raises the rate by `step_ppm` more."""

    from_pull: PityPull
    step_ppm: Annotated[int, Field(ge=100, le=CERTAIN_PPM)]


class Featured(Model):
    """The featured items of a banner, and their share of their rarity's draws.

    After a draw of another item, the next item of the rarity is certain to be featured.
    """

    item_ids: Annotated[ItemIds, AfterValidator(require_some)]
    share_ppm: Annotated[int, Field(ge=1, le=CERTAIN_PPM)]


class RarityRule(Model):
    """How one rarity is drawn on a banner.

    Pulls are counted since the last item of this rarity or above; the next pull is number 1.
    """

    rarity: Rarity
    base_rate_ppm: RatePpm
    soft_pity: SoftPity | None = None
    hard_pity: PityPull | None = None
    """The pull at which this rarity or above is certain."""
    featured: Featured | None = None
    item_ids: ItemIds = ()
    """The standard pool. It may contain featured items, which count as featured."""

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

    @property
    def featured_share_ppm(self) -> int:
        """The share of featured items in this rarity's draws without a guarantee."""
        if self.featured is None:
            return 0
        return self.featured.share_ppm if self.standard_ids else CERTAIN_PPM

    @property
    def all_ids(self) -> tuple[int, ...]:
        """Every item that a draw can give, featured ones first."""
        return self.featured_ids + self.standard_ids

    @property
    def drawn_by(self) -> dict[str, Any]:
        """All that a draw of this rarity goes by, in one form for rules of one effect."""
        rule = self.model_dump(mode="json") | {"item_ids": list(self.standard_ids)}
        if self.featured:
            rule["featured"]["share_ppm"] = self.featured_share_ppm
        return rule

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


class GuaranteeMode(StrEnum):
    """How the tenth of a ten-pull is drawn when the nine before are below the guarantee."""

    PROPORTIONAL = "proportional"
    """Among the guaranteed rarity and those above it, in the proportions of their rates. So each
    of them is likelier than at another pull."""
    KEEP_TOP_RATE = "keepTopRate"
    """Rarities above the guaranteed one keep their rate. The guaranteed one gets the rest."""


_DEFAULT_MODE = GuaranteeMode.PROPORTIONAL


class Terms(Model):
    """What pulls are drawn by: everything that their chances depend on, and nothing else."""

    kind: Slug
    """Banners of one kind share their pity."""
    ten_pull_guarantee: Rarity | None = None
    """Ten pulls at once give at least one of this rarity or above."""
    guarantee_mode: GuaranteeMode = _DEFAULT_MODE
    rules: Annotated[tuple[RarityRule, ...], Field(max_length=len(RARITIES))]
    """One for each rarity, highest first."""

    @cached_property
    def odds_version(self) -> str:
        """Names these odds: 12 hexadecimal digits of a hash of what is drawn by, alone."""
        drawn_by = self.model_dump(mode="json", include=set(Terms.model_fields))
        drawn_by["rules"] = [rule.drawn_by for rule in self.rules]
        return hashlib.sha256(json.dumps(drawn_by, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def terms(self) -> "Terms":
        """These terms without anything else."""
        return Terms(**{name: getattr(self, name) for name in Terms.model_fields})

    def rule(self, rarity: Rarity) -> RarityRule:
        """How this rarity is drawn."""
        return self.rules[RARITIES.index(rarity)]

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if self.ten_pull_guarantee is RARITIES[-1]:
            yield Fault(
                ("ten_pull_guarantee",),
                f"has no effect, because every pull is {RARITIES[-1]} or above; leave it out",
            )
        if self.ten_pull_guarantee is None and self.guarantee_mode is not _DEFAULT_MODE:
            yield Fault(
                ("guarantee_mode",), "has no effect without ten_pull_guarantee; leave it out"
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
                "is not allowed, because the lowest rarity gets the remaining rate; leave it out",
            )
