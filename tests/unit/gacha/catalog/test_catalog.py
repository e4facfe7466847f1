"""Accepted catalog files; any other file is refused without a crash."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gacha_svc
from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.errors import InvalidCatalog
from gacha_svc.domain.odds.published import disclose
from gacha_svc.domain.rarities import RARITIES, Rarity
from tests.unit.gacha.catalog.catalog_files import SMALL, faults_of

SHIPPED = (Path(gacha_svc.__file__).parent / "catalog.yaml").read_bytes()


def test_the_shipped_catalog_has_the_promised_items_and_banners() -> None:
    catalog = parse_catalog(SHIPPED, "catalog.yaml")
    assert len(catalog.items) >= 40
    assert {item.rarity for item in catalog.items} == set(RARITIES)
    assert len({item.name for item in catalog.items}) == len(catalog.items)
    assert [banner.kind for banner in catalog.banners] == ["standard", "limited", "beginner"]
    assert catalog.banners[0].id == "standard"
    limited, beginner = catalog.banners[1:]
    assert disclose(limited).rarities[0].expected_pulls == pytest.approx(62.2973, abs=5e-5)
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
        pytest.param(
            "ten_pull_guarantee: super rare",
            "ten_pull_guarantee: super rare\n    guarantee_mode: keepTopRate",
            id="a guarantee that keeps the top rate",
        ),
        pytest.param("item_ids: [2]", "item_ids: [1, 2]", id="a featured item in the pool"),
        pytest.param("        item_ids: [2]\n", "", id="featured items alone"),
        pytest.param("pull_limit: 0", "pull_limit: 1", id="a limit of one single pull"),
        pytest.param("price_gems: 160", "price_gems: 900719925474099", id="the highest price"),
        pytest.param("name: Sky", 'name: "Ciel étoilé 星空"', id="letters of any language"),
        pytest.param("name: Sky", "name: On", id="a word that old YAML takes for true"),
        pytest.param("name: Sky", "name: 2020-01-01", id="a word that old YAML takes for a date"),
    ],
)
def test_unusual_but_valid_catalogs_are_accepted(old: str, new: str) -> None:
    assert old in SMALL
    assert parse_catalog(SMALL.replace(old, new), "c").banners


def test_a_byte_order_mark_and_line_ends_of_windows_are_taken() -> None:
    content = b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode()
    assert parse_catalog(content, "c") == parse_catalog(SMALL, "c")


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
def test_any_text_is_read_or_refused(edits: list[tuple[int, int, str]]) -> None:
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
