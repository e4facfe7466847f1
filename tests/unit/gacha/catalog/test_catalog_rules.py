"""Faults of a catalog's rules: rates, pity, items; each is reported with its line."""

import pytest

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from tests.unit.gacha.catalog.catalog_files import RULES, SECOND_BANNER, SMALL, faults_of

PERCENTAGE = "must be a percentage from 0 to 100 with at most 4 decimals, such as 0.6"


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        pytest.param(
            "base_rate: 5.1",
            "base_rate: 5.2",
            [f"15: {RULES} add up to a base_rate of 100.1 %; make it 100 %"],
            id="rates above 100",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: 0.5999",
            [f"15: {RULES} add up to a base_rate of 99.9999 %; make it 100 %"],
            id="rates just below 100",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: 0.6001",
            [f"15: {RULES} add up to a base_rate of 100.0001 %; make it 100 %"],
            id="rates just above 100",
        ),
        pytest.param(
            "base_rate: 5.1",
            "base_rate: 0",
            [
                f"25: {RULES}[1].base_rate is 0 and there is no pity, so no pull gives this "
                "rarity; raise it"
            ],
            id="a rarity that never comes",
        ),
        pytest.param(
            "[1, 10]\n    pull_limit: 0",
            "[10]\n    pull_limit: 9",
            ["13: banners[0].pull_limit is below every number in pull_counts; raise it"],
            id="a limit below the only count",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: 0.60001",
            [f"17: {RULES}[0].base_rate {PERCENTAGE}"],
            id="five decimals",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: 6e-1",
            [f"17: {RULES}[0].base_rate {PERCENTAGE}"],
            id="an exponent",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: 0.6%",
            [f"17: {RULES}[0].base_rate {PERCENTAGE}"],
            id="a percent sign",
        ),
        pytest.param(
            "base_rate: 94.3",
            "base_rate: 100.5",
            [f"28: {RULES}[2].base_rate {PERCENTAGE}"],
            id="more than 100",
        ),
        pytest.param(
            "base_rate: 0.6",
            "base_rate: -0.6",
            [f"17: {RULES}[0].base_rate {PERCENTAGE}"],
            id="a negative rate",
        ),
        pytest.param(
            "step: 6",
            "step: 0.009",
            [f"20: {RULES}[0].soft_pity.step must be at least 0.01 percent"],
            id="a step too small",
        ),
        pytest.param(
            "share: 50",
            "share: 0",
            [f"22: {RULES}[0].featured.share must be at least 0.0001 percent"],
            id="no share",
        ),
        pytest.param(
            "base_rate: 94.3",
            "base_rate_ppm: 943000",
            [
                f"27: {RULES}[2].base_rate is missing; add it",
                f"28: {RULES}[2].base_rate_ppm is not known here; write base_rate, in percent",
            ],
            id="parts per million",
        ),
        pytest.param(
            "price_gems: 160",
            "price: 160",
            [
                "7: banners[0].price_gems is missing; add it",
                "11: banners[0].price is not known here; correct its spelling, or remove it",
            ],
            id="an unknown key",
        ),
        pytest.param(
            "kind: standard",
            "kind: standard\n    name: Earth",
            ["11: banners[0].name (again) is given twice, first on line 8; remove one"],
            id="a key given twice",
        ),
        pytest.param(
            "id: 2,",
            "id: 1,",
            [
                "3: items[1].id 1 is taken; give another number",
                f"23: {RULES}[0].item_ids names item 2, which does not exist; correct it or add it",
            ],
            id="an item id given twice",
        ),
        pytest.param(
            "item_ids: [3]",
            "item_ids: [3, 9]",
            [f"26: {RULES}[1].item_ids names item 9, which does not exist; correct it or add it"],
            id="an unknown item",
        ),
        pytest.param(
            "item_ids: [3]",
            "item_ids: [3, 4]",
            [f"26: {RULES}[1].item_ids names item 4, which is rare; list it there instead"],
            id="an item of another rarity",
        ),
        pytest.param(
            "item_ids: [1]",
            "item_ids: [3]",
            [
                f"22: {RULES}[0].featured.item_ids names item 3, which is super rare; "
                "list it there instead"
            ],
            id="a featured item of another rarity",
        ),
        pytest.param(
            "item_ids: [3]",
            "item_ids: [3, 3]",
            [f"26: {RULES}[1].item_ids must not repeat 3"],
            id="an item listed twice",
        ),
        pytest.param(
            "item_ids: [3]",
            "item_ids: []",
            [f"26: {RULES}[1].item_ids is empty; list at least one item of this rarity"],
            id="an empty pool",
        ),
        pytest.param(
            "item_ids: [1]",
            "item_ids: []",
            [f"22: {RULES}[0].featured.item_ids must have at least one entry"],
            id="nothing featured",
        ),
        pytest.param(
            "hard_pity: 90",
            "hard_pity: 73",
            [
                f"21: {RULES}[0].hard_pity is below soft_pity's from_pull (74), which would never "
                "be reached; raise it, or leave soft_pity out"
            ],
            id="hard pity below soft pity",
        ),
        pytest.param(
            "hard_pity: 90",
            "hard_pity: 1001",
            [f"21: {RULES}[0].hard_pity must be less than or equal to 1000"],
            id="hard pity too far",
        ),
        pytest.param(
            "base_rate: 5.1",
            "base_rate: 5.1\n        hard_pity: 1",
            [
                f"28: {RULES}[2] can never give anything rare, because rates or pity of the others "
                "leave no room; lower those"
            ],
            id="a pity that leaves no room",
        ),
        pytest.param(
            "base_rate: 94.3",
            "base_rate: 94.3\n        hard_pity: 5",
            [
                f"29: {RULES}[2].hard_pity is not allowed, because the lowest rarity "
                "gets the remaining rate; leave it out"
            ],
            id="pity for the lowest",
        ),
    ],
)
def test_a_fault_of_the_rules_is_reported_with_its_line(
    old: str, new: str, faults: list[str]
) -> None:
    assert old in SMALL
    assert list(faults_of(SMALL.replace(old, new, 1))) == [
        f"catalog.yaml:{each}" for each in faults
    ]


def test_banners_of_one_kind_must_share_their_pity() -> None:
    assert len(parse_catalog(SMALL + SECOND_BANNER, "c").banners) == 2
    faults = faults_of(SMALL + SECOND_BANNER.replace("hard_pity: 90", "hard_pity: 80"))
    assert faults == (
        "catalog.yaml:44: banners[1].rules[0].hard_pity differs from that of standard, with which "
        "the kind standard shares its pity; make them equal, or give this banner a kind of its own",
    )
    other_kind = SECOND_BANNER.replace("hard_pity: 90", "hard_pity: 80").replace(
        "kind: standard", "kind: other"
    )
    assert len(parse_catalog(SMALL + other_kind, "c").banners) == 2
