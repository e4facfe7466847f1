"""Finds the endpoint for a verb and a path; compiled once from path templates.

Guarantees: the path is split and matched as it was sent, and only then decoded (RFC 3986, 2.4).
So an escaped slash separates nothing, and a literal has one spelling: rules of a proxy for a
path hold for everything that reaches its route. A literal segment wins over a variable. A
variable matches exactly one segment that is not empty, so a trailing slash makes another path.
It matches no dot segment, escaped or not, because others on the way may remove those. A second
route for the same paths and verb is refused when it is added.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from gateway_http.errors import MalformedPath, MethodNotAllowed, RouteNotFound
from gateway_http.exchange import Endpoint
from gateway_http.transcoding.contracts import UnsupportedContract

_VARIABLE = re.compile(r"\{([a-z_][a-z0-9_]*)(?:=\*)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~-]+")
_DOT_SEGMENT = re.compile(r"(\.|%2e){1,2}", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint of a route; `variables` are the template's, in order."""

    endpoint: Endpoint
    variables: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None
    targets: dict[str, Target] = field(default_factory=dict)


class Router:
    """All routes of the gateway."""

    def __init__(self) -> None:
        self._root = _Node()
        self._without_variables: dict[str, dict[str, Target]] = {}

    def add(self, verb: str, template: str, endpoint: Endpoint, *, also_head: bool = False) -> None:
        """Adds a route; `template` consists of literal and {variable} segments, or is "/".

        `also_head` adds HEAD to a GET route, for routes that change nothing. Raises
        UnsupportedContract for other templates and for a route that exists.
        """
        node = self._root
        variables: list[str] = []
        for segment in _segments_of(template):
            match = _VARIABLE.fullmatch(segment)
            if match is not None:
                variables.append(match[1])
                node.variable = node = node.variable or _Node()
            elif _LITERAL.fullmatch(segment) or template == "/":
                node = node.literals.setdefault(segment, _Node())
            else:
                raise UnsupportedContract(
                    f"{template}: {segment!r} is neither a literal nor {{name}}"
                )
        for each in (verb, "HEAD") if also_head else (verb,):
            if each in node.targets:
                raise UnsupportedContract(f"{each} {template} has two routes")
            node.targets[each] = Target(endpoint, tuple(variables))
        if not variables:
            self._without_variables[template] = node.targets

    def match(self, verb: str, path: str) -> tuple[Target, dict[str, str]]:
        """The target for a path as it was sent, and the decoded values of its variables.

        Raises RouteNotFound; MethodNotAllowed when the path has only other verbs; MalformedPath
        when a variable cannot be decoded.
        """
        targets = self._without_variables.get(path)
        if targets is not None and verb in targets:
            return targets[verb], {}
        found = _first(self._root, verb, path.split("/"), 1, ())
        if found is None:
            raise MethodNotAllowed(self.allowed(path))
        target, values = found
        return target, dict(zip(target.variables, map(_decoded, values), strict=True))

    def allowed(self, path: str) -> set[str]:
        """The verbs of a path. Raises RouteNotFound when it has none."""
        found: set[str] = set()
        for targets, _ in _walk(self._root, path.split("/")[1:]):
            found.update(targets)
        if not found:
            raise RouteNotFound
        return {*found, "OPTIONS"}


def _segments_of(template: str) -> list[str]:
    if not template.startswith("/"):
        raise UnsupportedContract(f"{template}: a path template starts with a slash")
    return template[1:].split("/")


def _decoded(segment: str) -> str:
    """The text of a segment. Raises MalformedPath."""
    if "%" not in segment:
        return segment
    if _BROKEN_ESCAPE.search(segment):
        raise MalformedPath
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedPath from None


def _first(
    node: _Node, verb: str, segments: list[str], index: int, values: tuple[str, ...]
) -> tuple[Target, tuple[str, ...]] | None:
    """The first target for the verb of the nodes that `_walk` yields for `segments[index:]`. It
    is part of each request, and a generator for each segment would take twice as long."""
    if index == len(segments):
        target = node.targets.get(verb)
        return None if target is None else (target, values)
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _first(literal, verb, segments, index + 1, values)
        if found is not None:
            return found
    if node.variable is None or not segment or _DOT_SEGMENT.fullmatch(segment):
        return None
    return _first(node.variable, verb, segments, index + 1, (*values, segment))


def _walk(
    node: _Node, segments: list[str], values: tuple[str, ...] = ()
) -> Iterator[tuple[dict[str, Target], tuple[str, ...]]]:
    """All nodes that match the segments; at most as deep as the templates."""
    if not segments:
        if node.targets:
            yield node.targets, values
        return
    segment, rest = segments[0], segments[1:]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, rest, values)
    if node.variable is not None and segment and not _DOT_SEGMENT.fullmatch(segment):
        yield from _walk(node.variable, rest, (*values, segment))
