"""Faults of a catalog's values and of the file itself; each is reported with its line."""

import time

import pytest

from gacha_svc.adapters.catalog_file.catalog import MAX_CATALOG_BYTES
from gacha_svc.adapters.catalog_file.fault_lines import MAX_FAULTS
from tests.unit.gacha.catalog.catalog_files import RULES, SECOND_BANNER, SMALL, faults_of


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
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
                "14: banners[0].ten_pull_guarantee has no effect, because every pull is rare or "
                "above; leave it out"
            ],
            id="an empty promise",
        ),
        pytest.param(
            "ten_pull_guarantee: super rare",
            "guarantee_mode: keepTopRate",
            [
                "14: banners[0].guarantee_mode has no effect without ten_pull_guarantee; "
                "leave it out"
            ],
            id="the mode of no promise",
        ),
        pytest.param(
            "ten_pull_guarantee: super rare",
            "ten_pull_guarantee: super rare\n    guarantee_mode: keep_top_rate",
            ["15: banners[0].guarantee_mode must be 'proportional' or 'keepTopRate'"],
            id="an unknown mode",
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
        *(
            pytest.param(
                "name: Sky",
                f'name: "Sky{separator}"\n    price: 1',
                [f"8: the file holds a line separator of Unicode ({name}); remove it"],
                id=name,
            )
            for separator, name in (("\x85", "U+0085"), ("\u2028", "U+2028"), ("\u2029", "U+2029"))
        ),
        pytest.param(
            "name: Sky",
            'name: "Sky\\u2028"\n    price: 1',
            [
                "8: banners[0].name must be visible characters on one line, "
                "with no space at its ends",
                "9: banners[0].price is not known here; correct its spelling, or remove it",
            ],
            id="an escaped line separator",
        ),
    ],
)
def test_a_fault_of_a_value_is_reported_with_its_line(
    old: str, new: str, faults: list[str]
) -> None:
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
def test_a_file_that_cannot_be_read_is_reported_why(content: str | bytes, fault: str) -> None:
    assert faults_of(content) == (f"catalog.yaml:{fault}",)


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    started = time.perf_counter()
    (fault,) = faults_of(b"a" * (MAX_CATALOG_BYTES + 1))
    assert fault == f"catalog.yaml:1: the file is larger than {MAX_CATALOG_BYTES} bytes; shorten it"
    faults_of("x" * 10_000_000)
    assert time.perf_counter() - started < 1


def test_all_faults_are_reported_at_once_in_the_order_of_the_file() -> None:
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


def test_a_banner_id_is_given_once() -> None:
    faults = faults_of(SMALL + SECOND_BANNER.replace("id: second", "id: standard"))
    assert faults == ("catalog.yaml:30: banners[1].id standard is taken; give another id",)
