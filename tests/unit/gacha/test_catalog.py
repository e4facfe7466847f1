"""The catalog file: what is taken, and what is refused with its line and remedy."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gacha_svc
from gacha_svc.adapters.catalog_file.catalog import MAX_CATALOG_BYTES, parse_catalog
from gacha_svc.adapters.catalog_file.fault_lines import MAX_FAULTS
from gacha_svc.domain.errors import InvalidCatalog
from gacha_svc.domain.odds import disclose
from gacha_svc.domain.rarities import RARITIES, Rarity
from mesh.errors import Code

SHIPPED = (Path(gacha_svc.__file__).parent / "catalog.yaml").read_bytes()

SMALL = """\
items:
  - {id: 1, name: Sun, rarity: ultra rare}
  - {id: 2, name: Moon, rarity: ultra rare}
  - {id: 3, name: Star, rarity: super rare}
  - {id: 4, name: No, rarity: rare}
banners:
  - id: standard
    name: Sky
    description: All of it.
    kind: standard
    price_gems: 160
    pull_counts: [1, 10]
    pull_limit: 0
    ten_pull_guarantee: super rare
    rules:
      - rarity: ultra rare
        base_rate: 0.6
        soft_pity:
          from_pull: 74
          step: 6
        hard_pity: 90
        featured: {item_ids: [1], share: 50}
        item_ids: [2]
      - rarity: super rare
        base_rate: 5.1
        item_ids: [3]
      - rarity: rare
        base_rate: 94.3
        item_ids: [4]
"""
SECOND_BANNER = SMALL[SMALL.index("  - id: standard") :].replace("id: standard", "id: second")


def faults_of(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidCatalog) as refused:
        parse_catalog(text, "catalog.yaml")
    assert refused.value.code is Code.FAILED_PRECONDITION
    assert refused.value.reason == "INVALID_CATALOG"
    assert len(refused.value.message) < 3_100
    told = refused.value.message.split("\n")
    assert tuple(told) == refused.value.faults or told[-1] == "and more; correct these first"
    return refused.value.faults


def test_the_shipped_catalog_is_what_players_were_promised() -> None:
    catalog = parse_catalog(SHIPPED, "catalog.yaml")
    assert len(catalog.items) >= 40
    assert {item.rarity for item in catalog.items} == set(RARITIES)
    assert len({item.name for item in catalog.items}) == len(catalog.items)
    assert [banner.kind for banner in catalog.banners] == ["standard", "limited", "beginner"]
    assert catalog.banners[0].id == "standard"
    limited, beginner = catalog.banners[1:]
    assert disclose(limited, catalog.items_by_id)[0].expected_pulls == pytest.approx(
        62.2973, abs=5e-5
    )
    assert limited.rule(Rarity.ULTRA_RARE).featured_ids
    assert limited.rule(Rarity.SUPER_RARE).hard_pity == 10
    assert beginner.ten_pull_guarantee is Rarity.SUPER_RARE
    assert beginner.price_gems < limited.price_gems
    for banner in catalog.banners:
        assert banner.pull_counts == (1, 10)
        assert banner.pull_limit == 0


def test_a_small_catalog_is_read_as_written() -> None:
    catalog = parse_catalog(SMALL, "catalog.yaml")
    assert [item.name for item in catalog.items] == ["Sun", "Moon", "Star", "No"]
    (banner,) = catalog.banners
    ultra_rare = banner.rules[0]
    assert [rule.base_rate_ppm for rule in banner.rules] == [6_000, 51_000, 943_000]
    assert ultra_rare.soft_pity is not None
    assert (ultra_rare.soft_pity.from_pull, ultra_rare.soft_pity.step_ppm) == (74, 60_000)
    assert (ultra_rare.featured_ids, ultra_rare.standard_ids) == ((1,), (2,))


@pytest.mark.parametrize(
    ("written", "rest", "ppm"),
    [
        ("0.6", "94.3", 6_000),
        ("0.0001", "94.8999", 1),
        ("1", "93.9", 10_000),
        ("1.0000", "93.9", 10_000),
        ("0.29", "94.61", 2_900),
        ("0.5700", "94.33", 5_700),
        ("'0.6'", "94.3", 6_000),
    ],
)
def test_percentages_are_exact(written: str, rest: str, ppm: int) -> None:
    text = SMALL.replace("base_rate: 0.6", f"base_rate: {written}").replace("94.3", rest)
    assert parse_catalog(text, "c").banners[0].rules[0].base_rate_ppm == ppm


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("hard_pity: 90", "hard_pity: 74", id="hard pity where soft pity starts"),
        pytest.param("        hard_pity: 90\n", "", id="soft pity alone"),
        pytest.param("hard_pity: 90", "hard_pity:", id="a value left empty"),
        pytest.param("item_ids: [2]", "item_ids: [1, 2]", id="a featured item in the pool"),
        pytest.param("        item_ids: [2]\n", "", id="featured items alone"),
        pytest.param("pull_limit: 0", "pull_limit: 1", id="a limit of one single pull"),
        pytest.param("price_gems: 160", "price_gems: 900719925474099", id="the highest price"),
        pytest.param("name: Sky", 'name: "Ciel étoilé 星空"', id="letters of any language"),
        pytest.param("name: Sky", "name: On", id="a word that old YAML takes for true"),
        pytest.param("name: Sky", "name: 2020-01-01", id="a word that old YAML takes for a date"),
    ],
)
def test_what_is_unusual_but_right_is_taken(old: str, new: str) -> None:
    assert old in SMALL
    assert parse_catalog(SMALL.replace(old, new), "c").banners


def test_a_byte_order_mark_and_line_ends_of_windows_are_taken() -> None:
    content = b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode()
    assert parse_catalog(content, "c") == parse_catalog(SMALL, "c")


PERCENTAGE = "must be a percentage from 0 to 100 with at most 4 decimals, such as 0.6"
RULES = "banners[0].rules"


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
            ["13: banners[0].pull_limit allows not even one request of pull_counts; raise it"],
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
                f"28: {RULES}[2] can never give anything rare, for rates or pity of the others "
                "leave no room; lower those"
            ],
            id="a pity that leaves no room",
        ),
        pytest.param(
            "base_rate: 94.3",
            "base_rate: 94.3\n        hard_pity: 5",
            [
                f"29: {RULES}[2].hard_pity cannot be, since the lowest rarity gets what the others "
                "leave; leave it out"
            ],
            id="pity for the lowest",
        ),
        pytest.param(
            "price_gems: 160",
            "price_gems: 0",
            ["11: banners[0].price_gems must be greater than or equal to 1"],
            id="free",
        ),
        pytest.param(
            "price_gems: 160",
            "price_gems: 1.5",
            ["11: banners[0].price_gems must be a valid integer"],
            id="a fraction of a gem",
        ),
        pytest.param(
            "price_gems: 160",
            "price_gems: 900719925474100",
            ["11: banners[0].price_gems must be less than or equal to 900719925474099"],
            id="ten would not be exact",
        ),
        pytest.param(
            "price_gems: 160",
            "price_gems: 99999999999999999999999",
            ["11: banners[0].price_gems must be a valid integer"],
            id="a price beyond any",
        ),
        pytest.param(
            "price_gems: 160",
            "price_gems: '160'",
            ["11: banners[0].price_gems must be a valid integer"],
            id="a number in quotes",
        ),
        pytest.param(
            "[1, 10]",
            "[1, 5]",
            [
                "12: banners[0].pull_counts must hold 1, 10 or both, and nothing else",
                "14: banners[0].ten_pull_guarantee needs 10 in pull_counts; add it",
            ],
            id="five pulls",
        ),
        pytest.param(
            "pull_limit: 0",
            "pull_limit: -1",
            ["13: banners[0].pull_limit must be greater than or equal to 0"],
            id="a negative limit",
        ),
        pytest.param(
            "ten_pull_guarantee: super rare",
            "ten_pull_guarantee: rare",
            [
                "14: banners[0].ten_pull_guarantee promises nothing, since every pull is rare or "
                "above; leave it out"
            ],
            id="an empty promise",
        ),
        pytest.param(
            "id: standard",
            "id: Standard",
            ["7: banners[0].id must be 1 to 40 characters of a to z, 0 to 9 and -"],
            id="a capital letter",
        ),
        pytest.param(
            "rarity: super rare}",
            "rarity: epic}",
            ["4: items[2].rarity must be 'rare', 'super rare' or 'ultra rare'"],
            id="an unknown rarity",
        ),
        pytest.param(
            "- rarity: super rare",
            "- rarity: rare",
            [f"15: {RULES} must have one rule each for ultra rare, super rare, rare, in order"],
            id="a rarity twice",
        ),
        pytest.param(
            "name: Sun",
            "name: 'Sun '",
            ["2: items[0].name must be visible characters on one line, with no space at its ends"],
            id="a name with a space behind",
        ),
        pytest.param(
            "name: Sun",
            'name: "S\\0un"',
            ["2: items[0].name must be visible characters on one line, with no space at its ends"],
            id="a name with NUL",
        ),
        pytest.param("name: Sun", "name: 5", ["2: items[0].name must be text"], id="a number"),
        pytest.param(
            "description: All of it.",
            "description: [a]",
            ["9: banners[0].description must be text"],
            id="a list for text",
        ),
        pytest.param(
            "    rules:\n",
            "    rules: 5\n    x:\n",
            [
                "15: banners[0].rules must be a list",
                "16: banners[0].x is not known here; correct its spelling, or remove it",
            ],
            id="a number for a list",
        ),
        pytest.param(
            "name: Sky",
            "name: &sky Sky",
            ["8: the file has an anchor or alias (& or *); write the value itself"],
            id="an anchor",
        ),
        pytest.param(
            "name: Sky",
            "name: *sky",
            ["8: the file has an anchor or alias (& or *); write the value itself"],
            id="an alias",
        ),
        pytest.param(
            "name: Sky",
            "name: !!python/name:os.system x",
            ["8: the file has a tag (!); leave it out"],
            id="a tag",
        ),
        pytest.param(
            "name: Sky",
            'name: "\\ud800"',
            ["8: the file has half of a surrogate pair; write the character"],
            id="half a surrogate pair",
        ),
        pytest.param(
            "name: Sky",
            "name: Sky\n  bad indent",
            ["10: the file is not YAML: could not find expected ':'"],
            id="no YAML",
        ),
        pytest.param(
            "name: Sky",
            "name: \x07",
            ["8: the file holds a control character; remove it"],
            id="a control character",
        ),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, faults: list[str]) -> None:
    assert old in SMALL
    assert list(faults_of(SMALL.replace(old, new, 1))) == [
        f"catalog.yaml:{each}" for each in faults
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param("", "1: the file is empty; write items and banners", id="nothing"),
        pytest.param("# soon\n", "1: the file is empty; write items and banners", id="a comment"),
        pytest.param("[]", "1: the file must be a mapping with items and banners", id="a list"),
        pytest.param(
            b"items:\n  - \xff",
            "2: the file is not UTF-8; save the file in that encoding",
            id="another encoding",
        ),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            "2: the file starts a second document; keep to one",
            id="two documents",
        ),
        pytest.param(
            "[" * 5_000,
            "1: the file nests too deeply; keep to the documented form",
            id="nested without end",
        ),
        pytest.param(
            "? [a]\n: 1\n", "1: the file has a key that is no word; write one", id="a list as key"
        ),
        pytest.param(
            '"\\UFFFFFFFF": 1',
            "1: the file has, here or below, an escape that names no character",
            id="a character that is none",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told_why(content: str | bytes, fault: str) -> None:
    assert faults_of(content) == (f"catalog.yaml:{fault}",)


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    started = time.perf_counter()
    (fault,) = faults_of(b"a" * (MAX_CATALOG_BYTES + 1))
    assert fault == f"catalog.yaml:1: the file is larger than {MAX_CATALOG_BYTES} bytes; shorten it"
    faults_of("x" * 10_000_000)
    assert time.perf_counter() - started < 1


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = SMALL.replace("item_ids: [3]", "item_ids: [9]").replace("0.6", "0.7")
    text = text.replace("base_rate: 0.7", "base_rate: 0.6", 1) + SECOND_BANNER.replace("160", "0")
    assert [fault.split(" ")[:2] for fault in faults_of(text)] == [
        ["catalog.yaml:26:", "banners[0].rules[1].item_ids"],
        ["catalog.yaml:34:", "banners[1].price_gems"],
    ]


def test_the_number_of_faults_is_bounded() -> None:
    text = SMALL + "".join(f"key{number}: 1\n" for number in range(500))
    faults = faults_of(text)
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "catalog.yaml: and 450 more; correct these first"


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


def test_a_banner_id_is_given_once() -> None:
    faults = faults_of(SMALL + SECOND_BANNER.replace("id: second", "id: standard"))
    assert faults == ("catalog.yaml:30: banners[1].id standard is taken; give another id",)


PIECES = st.sampled_from(
    [
        *"[]{}:,-#&*!|>'\"%@`~?\n\t \0\\0",
        "- ",
        ": ",
        "\n  ",
        "---\n",
        "<<: ",
        "null",
        "1e999",
        "_ppm",
        "0x10",
        "\ud800",
        "\x85",
        "﻿",
        "id",
        "rules",
        '"\\x00"',
        "9" * 30,
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL)), st.integers(0, 12), PIECES), max_size=4))
def test_whatever_is_written_is_read_or_refused(edits: list[tuple[int, int, str]]) -> None:
    text = SMALL
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    try:
        parse_catalog(text, "catalog.yaml")
        faults: tuple[str, ...] = ()
    except InvalidCatalog as refused:
        faults = refused.faults
    assert all(fault.startswith("catalog.yaml:") for fault in faults)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_read_or_refused(content: str | bytes) -> None:
    assert faults_of(content)
