"""The rooms of the code: their sizes, their imports, and the page that shows them."""

import ast
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

from proof import architecture
from proof.architecture import Circle

MAX_MODULES_OF_A_ROOM = 14
MAX_LINES_OF_A_MODULE = 300
MAX_LINES_OF_A_TEST_MODULE = 400
MAX_LINES_OF_A_FUNCTION = 45


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return architecture.import_graph()


@pytest.fixture(scope="module")
def sources(repository: Path) -> Mapping[str, str]:
    """The text of each module of ours that is not generated, by its path."""
    return {
        path.relative_to(repository).as_posix(): path.read_text()
        for package in architecture.PACKAGES
        for path in (repository / package).rglob("*.py")
        if not path.stem.endswith("_pb2")
    }


def test_no_package_has_children_that_import_one_another_in_a_circle(
    graph: grimp.ImportGraph,
) -> None:
    for package in architecture.packages_of(graph):
        arrows = architecture.arrows_between(graph, architecture.children(graph, package))
        architecture.check_no_circle(arrows)


def test_the_page_shows_the_rooms_as_they_are(graph: grimp.ImportGraph) -> None:
    page = architecture.PAGE.read_text()
    drawn = architecture.page_with(page, architecture.drawn(graph))
    assert drawn == page, "run `make picture`"


def test_a_room_holds_about_a_dozen_modules(sources: Mapping[str, str]) -> None:
    rooms: dict[str, int] = {}
    for name in sources:
        room, _, module = name.rpartition("/")
        rooms[room] = rooms.get(room, 0) + (module != "__init__.py")
    assert {r: n for r, n in rooms.items() if n > MAX_MODULES_OF_A_ROOM} == {}


def test_modules_are_short(sources: Mapping[str, str]) -> None:
    longer = {
        name
        for name, text in sources.items()
        if text.count("\n")
        > (MAX_LINES_OF_A_TEST_MODULE if name.startswith("tests/") else MAX_LINES_OF_A_MODULE)
    }
    assert longer == set()


def test_functions_are_short(sources: Mapping[str, str]) -> None:
    longer = {
        f"{name} {function.name}"
        for name, text in sources.items()
        for function in _functions(ast.parse(text))
        if (function.end_lineno or 0) - function.lineno + 1 > MAX_LINES_OF_A_FUNCTION
    }
    assert longer == set()


def test_no_module_imports_a_test_module(graph: grimp.ImportGraph) -> None:
    found = {
        (importer, module)
        for module in graph.modules
        if module.rpartition(".")[2].startswith("test_")
        for importer in graph.find_modules_that_directly_import(module)
    }
    assert found == set()


def test_a_circle_is_named_in_the_order_of_its_imports() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}
    with pytest.raises(Circle) as caught:
        architecture.check_no_circle(arrows)
    rooms = caught.value.rooms
    assert rooms[0] == rooms[-1]
    assert all(after in arrows[before] for before, after in pairwise(rooms))
    assert set(rooms) == {"b", "c", "d"}


def test_arrows_that_a_longer_way_replaces_are_left_out() -> None:
    arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert architecture.reduced(arrows) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="'house'"):
        architecture.page_with("# A page\n", {"house": "a picture\n"})


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
