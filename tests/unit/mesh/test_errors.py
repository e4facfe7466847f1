"""The drawn tree of errors equals the classes."""

import re

import mesh.errors
from mesh.errors import MeshError

LINE = re.compile(r"^    (?P<indent>[| ]*)\+-- (?P<name>\w+) +(?P<code>\d+)?")
WIDTH = 4
"""Of one level of the tree, in characters."""


def drawn() -> dict[str, tuple[str, int | None]]:
    """The parent of each drawn class, and its code if one is drawn."""
    assert mesh.errors.__doc__ is not None
    path = [MeshError.__name__]
    found: dict[str, tuple[str, int | None]] = {}
    for line in mesh.errors.__doc__.splitlines():
        if match := LINE.match(line):
            del path[1 + len(match["indent"]) // WIDTH :]
            found[match["name"]] = path[-1], int(match["code"]) if match["code"] else None
            path.append(match["name"])
    return found


def defined() -> dict[str, tuple[str, int | None]]:
    """The same from the classes; only classes directly below the root have a drawn code."""
    classes = [
        each
        for each in vars(mesh.errors).values()
        if isinstance(each, type) and issubclass(each, MeshError) and each is not MeshError
    ]
    return {
        each.__name__: (
            each.__bases__[0].__name__,
            int(each.CODE) if each.__bases__[0] is MeshError else None,
        )
        for each in classes
    }


def test_the_drawn_tree_has_every_class_below_its_parent_and_with_its_code() -> None:
    assert drawn() == defined()


def test_a_subclass_has_the_code_of_its_parent() -> None:
    for name, (parent, code) in defined().items():
        if code is None:
            assert vars(mesh.errors)[name].CODE is vars(mesh.errors)[parent].CODE
