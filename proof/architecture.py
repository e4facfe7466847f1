"""Draws the rooms of the code, and the imports between them, into ARCHITECTURE.md.

`make picture` (`python -m proof.architecture`) rewrites the text between the markers there, and
a test compares it with the code. A *room* is a folder of modules. An arrow means that one room
imports another. An arrow is left out if a longer path of arrows implies it.
"""

import ast
import graphlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
SERVICES = ("account_svc", "gacha_svc", "registry", "gateway_http", "payment_sandbox")
PACKAGES = ("protos", "mesh", *SERVICES, "deploy", "proof", "tests")
DESCRIBED = ("mesh", "gateway_http", "deploy", "deploy.local", "proof", "tests")
"""The packages whose rooms the page lists in a table."""

Arrows = Mapping[str, Collection[str]]
"""Each room with the rooms that it imports."""


class Circle(Exception):
    """Some rooms import one another in a circle; `rooms` has them in that order."""

    def __init__(self, rooms: list[str]) -> None:
        super().__init__(" -> ".join(rooms))
        self.rooms = rooms


def import_graph() -> grimp.ImportGraph:
    """Every import between our packages; imports of other packages are left out."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def packages_of(graph: grimp.ImportGraph) -> list[str]:
    """Every folder with modules or folders, outermost first, except generated code."""
    return sorted(m for m in graph.modules if graph.find_children(m) and not _is_generated(m))


def arrows_between(graph: grimp.ImportGraph, nodes: Mapping[str, str]) -> dict[str, set[str]]:
    """The arrows between nodes; `nodes` has the node of each module in the picture."""
    arrows: dict[str, set[str]] = {node: set() for node in nodes.values()}
    for module, node in nodes.items():
        for imported in graph.find_modules_directly_imported_by(module):
            if nodes.get(imported, node) != node:
                arrows[node].add(nodes[imported])
    return arrows


def children(graph: grimp.ImportGraph, package: str) -> dict[str, str]:
    """Each module below a package, with the child of the package that it belongs to."""
    depth = package.count(".") + 2
    return {m: ".".join(m.split(".")[:depth]) for m in graph.find_descendants(package)}


def rooms(graph: grimp.ImportGraph, package: str) -> dict[str, str]:
    """As `children`, for a picture: each room of the package, and `package.*` for the modules
    beside the rooms that import none of them. Modules that put the rooms together are left out.
    A package without rooms has its modules instead."""
    nodes = {m: node for m, node in children(graph, package).items() if "__main__" not in node}
    inner = {node for node in nodes.values() if graph.find_children(node)}
    if not inner:
        return nodes
    shown: dict[str, str] = {}
    for module, node in nodes.items():
        if node in inner:
            shown[module] = node
        elif not any(nodes.get(each) in inner for each in graph.find_upstream_modules(module)):
            shown[module] = f"{package}.*"
    return shown


def check_no_circle(arrows: Arrows) -> None:
    """Raises Circle if the arrows form a circle."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        raise Circle(error.args[1][::-1]) from None


def reduced(arrows: Arrows) -> dict[str, set[str]]:
    """Without the arrows that a longer way of arrows replaces. Raises Circle."""
    check_no_circle(arrows)
    reach: dict[str, set[str]] = {}
    for node in graphlib.TopologicalSorter(arrows).static_order():
        reach[node] = set(arrows[node]).union(*(reach[target] for target in arrows[node]))
    return {
        node: {t for t in targets if not any(t in reach[other] for other in targets)}
        for node, targets in arrows.items()
    }


def drawn(graph: grimp.ImportGraph) -> dict[str, str]:
    """The blocks of the page, by the name in their markers. Raises Circle."""
    whole = {module: module.partition(".")[0] for module in graph.modules}
    boxes = [line for service in SERVICES for line in _boxed(graph, service)]
    below_one_another = "  " + " ~~~ ".join(SERVICES)
    return {
        "folders": _table(PACKAGES),
        "house": _mermaid(_lines(reduced(arrows_between(graph, whole)))),
        "services": _mermaid([*boxes, below_one_another]),
        "mesh": _mermaid(_picture(graph, "mesh")),
        **{f"rooms of {name}": _table(_rooms_of(graph, name)) for name in DESCRIBED},
    }


def page_with(page: str, blocks: Mapping[str, str]) -> str:
    """The page with each block between its markers. Raises ValueError for a missing marker."""
    for name, block in blocks.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->\n"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} lacks the markers of {name!r}")
        page = f"{before}{begin}{block}{end}{after}"
    return page


def purpose_of(package: str) -> str:
    """The first sentence of a package's docstring, without its full stop."""
    text = (ROOT / package.replace(".", "/") / "__init__.py").read_text()
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    return " ".join(first.split()).removesuffix(".")


def _is_generated(package: str) -> bool:
    return package.partition(".")[0] == "protos"


def _rooms_of(graph: grimp.ImportGraph, package: str) -> list[str]:
    return sorted(each for each in graph.find_children(package) if graph.find_children(each))


def _picture(graph: grimp.ImportGraph, package: str) -> list[str]:
    arrows = reduced(arrows_between(graph, rooms(graph, package)))
    imported = set().union(*arrows.values())
    return _lines({node: t for node, t in arrows.items() if "*" not in node or node in imported})


def _boxed(graph: grimp.ImportGraph, package: str) -> list[str]:
    inner = [f"  {line}" for line in _picture(graph, package)]
    return [f"  subgraph {package}", "    direction LR", *inner, "  end"]


def _lines(arrows: Arrows) -> list[str]:
    """The nodes and arrows of a picture, in an order that changes as little as they do."""
    nodes = [f'  {_id(node)}["{_label(node)}"]' for node in sorted(arrows)]
    return nodes + [
        f"  {_id(node)} --> {_id(target)}"
        for node in sorted(arrows)
        for target in sorted(arrows[node])
    ]


def _id(node: str) -> str:
    """A name that Mermaid takes, and that is no folder's in a box of that name."""
    return node.replace(".", "_").replace("*", "root")


def _label(node: str) -> str:
    package, _, last = node.rpartition(".")
    return f"{package}/*.py" if last == "*" else last


def _mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```", ""])


def _table(packages: Iterable[str]) -> str:
    rows = [f"| `{p.replace('.', '/')}/` | {purpose_of(p)} |" for p in packages]
    return "\n".join(["| folder | what it is for |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), drawn(import_graph())))
