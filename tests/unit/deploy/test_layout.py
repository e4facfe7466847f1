"""The commands that messages name: for the mesh that they are about."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.layout import DEFAULT_FOLDER, Layout

OF_NO_MESH = {"`make up`, or on", "`make embedded`", "`gachactl tx resolve`"}
"""Remedies for the environment, which all meshes share, and one help text."""


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        (DEFAULT_FOLDER, "`make clean YES=1` (`gachactl clean --yes`)"),
        (Path("/srv/mesh"), "`gachactl clean --yes --folder /srv/mesh`"),
        (Path("/srv/two words"), "`gachactl clean --yes --folder '/srv/two words'`"),
    ],
)
def test_a_command_is_for_the_folder_that_is_meant(folder: Path, shown: str) -> None:
    assert Layout(folder).command("clean --yes", "clean YES=1") == shown


def test_make_has_the_same_words_unless_others_are_given() -> None:
    assert Layout(DEFAULT_FOLDER).command("down") == "`make down` (`gachactl down`)"


def test_no_message_names_a_command_without_the_folder(repository: Path) -> None:
    found = [
        f"{path.name}: {text}"
        for path in (repository / "deploy").rglob("*.py")
        if path.name != "layout.py"
        for text in _strings(ast.parse(path.read_text()))
        if ("`make " in text or "`gachactl " in text)
        and not any(allowed in text for allowed in OF_NO_MESH)
    ]
    assert found == []


def _strings(tree: ast.Module) -> Iterator[str]:
    """All string constants but those that are statements, such as docstrings."""
    statements = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in statements:
            yield str(node.value)
