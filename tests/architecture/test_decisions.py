"""docs/adr/README.md lists every decision with its present status."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROW = re.compile(r"\| \[(\d+)\]\(([^)]+)\) \| (.+?) \| (.+?) \| (.+?) \|")
_TITLE = re.compile(r"# (\d+)\. (.+)")
_SUPERSEDES = re.compile(r"^Supersedes (?:the part of )?(?:ADR |\[)(\d+)", re.MULTILINE)
_SUPERSEDED = re.compile(r"^Superseded (?:in part )?by (\d{4})\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the index."""

    number: int
    title: str
    status: str


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[str, str]:
    """The text of each decision, by its file's name."""
    return {path.name: path.read_text() for path in sorted((repository / "docs/adr").glob("0*.md"))}


@pytest.fixture(scope="module")
def index(repository: Path) -> dict[str, Row]:
    """The lines of the index, by the file that they name."""
    text = (repository / "docs/adr/README.md").read_text()
    found = _ROW.findall(text)
    assert len(found) == text.count("\n| ["), "a line of the index cannot be read"
    return {name: Row(int(number), title, status) for number, name, title, _, status in found}


def test_the_index_lists_every_page_with_its_number_and_title(
    pages: dict[str, str], index: dict[str, Row]
) -> None:
    written = {name: (row.number, row.title) for name, row in index.items()}
    titles = {name: _TITLE.match(text) for name, text in pages.items()}
    assert written == {name: title and (int(title[1]), title[2]) for name, title in titles.items()}
    assert [int(name[:4]) for name in pages] == sorted({row.number for row in index.values()})


def test_a_superseded_page_its_successor_and_the_index_say_the_same(
    pages: dict[str, str], index: dict[str, Row]
) -> None:
    by_successors = {
        (int(old), int(name[:4]))
        for name, text in pages.items()
        for old in _SUPERSEDES.findall(text)
    }
    by_themselves = {
        (int(name[:4]), int(new))
        for name, text in pages.items()
        for new in _SUPERSEDED.findall(text)
    }
    by_index = {
        (row.number, int(new))
        for row in index.values()
        for new in re.findall(r"superseded (?:in part )?by (\d+)", row.status)
    }
    assert by_successors == by_themselves == by_index
    assert by_index
