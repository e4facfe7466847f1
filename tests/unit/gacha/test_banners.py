"""Banners: valid, immutable, and with a version that depends on their odds."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.odds.long_run import consolidated_rates
from gacha_svc.domain.odds.published import disclose
from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.terms import RarityRule, SoftPity, Terms
from tests.unit.gacha.catalogs import BEGINNER, ITEMS, RATE_UP, SR, UR, banner_of, banners, rule


def definition(banner: Banner) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(banner.model_dump_json())
    return fields


@given(banners())
def test_a_banner_comes_back_from_json_as_it_was(banner: Banner) -> None:
    stored = Banner.model_validate_json(banner.model_dump_json())
    assert stored == banner
    assert stored.odds_version == banner.odds_version


@given(banners())
@settings(deadline=None)
def test_all_figures_of_a_banner_are_finite(banner: Banner) -> None:
    disclosed = disclose(banner)
    for each in disclosed.rarities:
        assert each.consolidated_rate_percent > 0
        assert math.isfinite(each.expected_pulls)
    assert math.isfinite(disclosed.expected_pulls_featured)


@pytest.mark.parametrize(
    ("ultra_rare", "super_rare", "never"),
    [
        pytest.param(
            rule(UR, 10_000, hard=5),
            rule(SR, 0, hard=10, featured=(201,)),
            ["super rare"],
            id="the pity above comes first and resets the one below",
        ),
        pytest.param(
            rule(UR, 10_000, hard=1),
            rule(SR, 50_000, featured=(201,)),
            ["super rare", "rare"],
            id="the highest is certain at each pull",
        ),
        pytest.param(
            rule(UR, 10_000, soft=SoftPity(from_pull=1, step_ppm=1_000_000)),
            rule(SR, 50_000),
            ["super rare", "rare"],
            id="by the step of a soft pity",
        ),
        pytest.param(
            rule(UR, 10_000),
            rule(SR, 50_000, hard=1),
            ["rare"],
            id="nothing is left for rares",
        ),
        pytest.param(
            rule(UR, 500_000),
            rule(SR, 0, hard=900),
            ["super rare"],
            id="a pity that only a chance of 10^-271 reaches",
        ),
        pytest.param(
            rule(UR, 10_000, hard=10),
            rule(SR, 0, soft=SoftPity(from_pull=9, step_ppm=100)),
            [],
            id="a pity that comes just in time",
        ),
        pytest.param(rule(UR, 0, hard=1_000), rule(SR, 0, hard=999), [], id="pity alone"),
    ],
)
def test_a_banner_gives_each_rarity(
    ultra_rare: RarityRule, super_rare: RarityRule, never: list[str]
) -> None:
    said = [f"can never give anything {rarity}, because " for rarity in never]
    if not never:
        assert min(consolidated_rates(banner_of(ultra_rare, super_rare))) > 0
        return
    with pytest.raises(ValidationError) as refused:
        banner_of(ultra_rare, super_rare)
    (error,) = refused.value.errors()
    faults = error["ctx"]["faults"]
    assert [fault.reason[: len(begin)] for fault, begin in zip(faults, said, strict=True)] == said
    assert [fault.path for fault in faults] == [
        ("rules", ["ultra rare", "super rare", "rare"].index(rarity)) for rarity in never
    ]


def test_a_catalog_comes_back_from_json_as_it_was() -> None:
    catalog = Catalog(items=tuple(ITEMS.values()), banners=(RATE_UP,))
    assert Catalog.model_validate_json(catalog.model_dump_json()) == catalog
    assert catalog.items_by_id == ITEMS


def test_rarities_are_ordered() -> None:
    assert RARITIES == ("ultra rare", "super rare", "rare")
    assert [rarity.rank for rarity in RARITIES] == [2, 1, 0]
    assert Rarity.ULTRA_RARE.at_least(Rarity.SUPER_RARE)
    assert Rarity.SUPER_RARE.at_least(Rarity.SUPER_RARE)
    assert not Rarity.RARE.at_least(Rarity.SUPER_RARE)


def test_a_banner_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        RATE_UP.price_gems = 1


def test_the_odds_version_is_short_and_repeatable() -> None:
    again = Banner.model_validate(definition(RATE_UP))
    assert again.odds_version == RATE_UP.odds_version
    assert len(RATE_UP.odds_version) == 12
    assert set(RATE_UP.odds_version) <= set("0123456789abcdef")


def test_the_odds_version_does_not_mind_the_order_of_fields_and_lists() -> None:
    def reversed_throughout(value: Any) -> Any:
        if isinstance(value, dict):
            pairs = reversed(list(value.items()))
            return {key: reversed_throughout(entry) for key, entry in pairs}
        if isinstance(value, list) and all(isinstance(entry, int) for entry in value):
            return list(reversed(value))
        return [reversed_throughout(entry) for entry in value] if isinstance(value, list) else value

    turned = reversed_throughout(definition(RATE_UP))
    assert list(turned) != list(definition(RATE_UP))
    assert Banner.model_validate(turned).odds_version == RATE_UP.odds_version


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "other"),
        (("ten_pull_guarantee",), "super rare"),
        (("ten_pull_guarantee",), "ultra rare"),
        (("rules", 0, "soft_pity", "from_pull"), 75),
        (("rules", 0, "soft_pity", "step_ppm"), 60_100),
        (("rules", 0, "soft_pity"), None),
        (("rules", 0, "hard_pity"), 89),
        (("rules", 0, "hard_pity"), None),
        (("rules", 0, "featured", "share_ppm"), 500_001),
        (("rules", 0, "featured", "item_ids"), [302]),
        (("rules", 0, "featured"), None),
        (("rules", 1, "hard_pity"), 11),
        (("rules", 1, "item_ids"), [201, 202]),
        (("rules", 2, "item_ids"), [101]),
    ],
)
def test_the_odds_version_changes_with_all_that_is_drawn_by(
    path: tuple[Any, ...], value: object
) -> None:
    assert with_field(path, value).odds_version != RATE_UP.odds_version


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), "other"),
        (("name",), "Other"),
        (("description",), "Other."),
        (("price_gems",), 161),
        (("pull_counts",), [10]),
        (("pull_limit",), 10),
        (("rules", 0, "item_ids"), [301, 302, 303, 304]),
    ],
)
def test_the_odds_version_stays_with_what_is_not_drawn_by(
    path: tuple[Any, ...], value: object
) -> None:
    """The last one lists an item in the pool that is featured in any case."""
    without = with_field(("rules", 0, "item_ids"), [302, 303, 304])
    changed = Banner.model_validate(with_value(definition(without), path, value))
    assert changed != without
    assert changed.odds_version == without.odds_version


def test_the_odds_version_knows_no_share_where_only_featured_items_are() -> None:
    alone = [with_field(("rules", 0, "item_ids"), [301])]
    alone.append(
        Banner.model_validate(
            with_value(definition(alone[0]), ("rules", 0, "featured", "share_ppm"), 1)
        )
    )
    assert alone[0].odds_version == alone[1].odds_version != RATE_UP.odds_version


def test_terms_alone_have_the_version_of_their_banner() -> None:
    stored = Terms.model_validate_json(RATE_UP.terms.model_dump_json())
    assert stored.odds_version == RATE_UP.odds_version


def test_a_banner_is_its_terms_and_its_offer() -> None:
    parts = json.loads(RATE_UP.terms.model_dump_json()) | RATE_UP.offer
    assert Banner.model_validate(parts) == RATE_UP


def with_value(fields: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    place: Any = fields
    for key in path[:-1]:
        place = place[key]
    assert place[path[-1]] != value
    place[path[-1]] = value
    return fields


def with_field(path: tuple[Any, ...], value: object) -> Banner:
    """RATE_UP with another value."""
    return Banner.model_validate(with_value(definition(RATE_UP), path, value))


def test_the_odds_version_changes_with_the_mode_of_the_guarantee() -> None:
    keeping = Banner.model_validate(definition(BEGINNER) | {"guarantee_mode": "keepTopRate"})
    assert keeping.odds_version != BEGINNER.odds_version


def test_the_odds_version_changes_with_a_rate() -> None:
    fields = definition(RATE_UP)
    fields["rules"][1]["base_rate_ppm"] += 1
    fields["rules"][2]["base_rate_ppm"] -= 1
    assert Banner.model_validate(fields).odds_version != RATE_UP.odds_version


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"id": "Upper"}, "pattern", id="capital letters in an id"),
        pytest.param({"id": "a\n"}, "pattern", id="a line end in an id"),
        pytest.param({"id": "a" * 41}, "pattern", id="an id of 41"),
        pytest.param({"price_gems": 2**53 // 10 + 1}, "less than", id="ten would exceed 2**53"),
        pytest.param({"price_gems": 0}, "greater than", id="free"),
        pytest.param({"pull_counts": []}, "at least one", id="no counts"),
        pytest.param({"pull_counts": [1, 5]}, "1, 10 or both", id="five pulls"),
        pytest.param({"rules": []}, "one rule each", id="no rules"),
        pytest.param({"unknown": 1}, "Extra", id="an unknown field"),
    ],
)
def test_an_unsound_banner_cannot_exist(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Banner.model_validate({**definition(BEGINNER), **changes})


def test_rules_stand_highest_first() -> None:
    fields = definition(RATE_UP)
    fields["rules"].reverse()
    with pytest.raises(ValidationError, match="one rule each for ultra rare, super rare, rare"):
        Banner.model_validate(fields)
