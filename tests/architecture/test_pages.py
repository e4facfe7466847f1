"""The files, folders, modules and headings that the pages name exist."""

import importlib
import re
from pathlib import Path

import pytest

PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs/*.md", "docs/adr/README.md")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_MODULE = re.compile(
    r"(?:python -m )?((?:mesh|account_svc|gacha_svc|registry|gateway_http|payment_sandbox|deploy"
    r"|proof|tests)(?:\.(?!v\d|json|pem)\w+)+)"
)
_PATH = re.compile(r"[\w.*-]+/[\w./*-]*")
MADE_ON_EACH_MACHINE = {"var", ".venv"}
"""What a run or an installation makes, so that a checkout has none of it."""


def pages_of(repository: Path) -> list[Path]:
    return sorted(path for pattern in PAGES for path in repository.glob(pattern))


def prose_of(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def slugs_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(module: str) -> bool:
    """Whether a dotted name leads to a module of ours, or to something in one."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def test_every_path_in_the_pages_exists(repository: Path) -> None:
    top = {path.name for path in repository.iterdir()} - MADE_ON_EACH_MACHINE
    named = {
        (page.name, path)
        for page in pages_of(repository)
        for code in _CODE.findall(prose_of(page))
        for path in _PATH.findall(code)
        if path.partition("/")[0] in top and code.startswith(path)
    }
    assert len(named) > 50, "the pages name hardly a path: look at the pattern"
    assert sorted(name for name in named if not list(repository.glob(name[1].rstrip("/")))) == []


def test_every_module_in_the_pages_exists(repository: Path) -> None:
    named = {
        (page.name, found[1])
        for page in pages_of(repository)
        for code in _CODE.findall(prose_of(page))
        if (found := _MODULE.fullmatch(code))
    }
    assert named
    assert sorted(name for name in named if not is_there(name[1])) == []


def test_every_link_leads_to_a_file_and_a_heading(repository: Path) -> None:
    broken = []
    for page in pages_of(repository):
        for path, heading in _LINK.findall(prose_of(page)):
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (heading and heading not in slugs_of(target)):
                broken.append(f"{page.name}: {path}#{heading}")
    assert broken == []


@pytest.mark.parametrize(
    ("name", "exists"), [("mesh.calls.Caller.call", True), ("mesh.calls.Callers", False)]
)
def test_a_name_that_leads_nowhere_is_noticed(name: str, exists: bool) -> None:
    assert is_there(name) is exists


def test_every_setting_is_on_a_page(repository: Path) -> None:
    pages = "\n".join(page.read_text() for page in pages_of(repository))
    settings = {
        name
        for config in (*repository.glob("*/config.py"), repository / "mesh/process/config.py")
        for name in re.findall(r'validation_alias="([A-Z_]+)"', config.read_text())
    }
    assert len(settings) > 30, "the services have hardly a setting: look at the pattern"
    assert sorted(name for name in settings if not re.search(rf"\b{name}\b", pages)) == []
