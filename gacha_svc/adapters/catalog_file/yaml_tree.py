"""Reads one YAML document into plain values, with the line of each.

It builds the values from the parser's events, so that it can refuse aliases (a file cannot
expand beyond its own size), tags (a file cannot create objects) and nesting beyond MAX_DEPTH.
Plain scalars follow YAML 1.2: only `true` and `false` are booleans, so an item may have the name
No or On.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from gacha_svc.domain.field_types import Fault, Path

MAX_DEPTH = 12

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,18}\.\d{0,18}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = re.compile("[\x85\u2028\u2029]")
"""The parser ends lines at these, as YAML 1.1 says; editors and YAML 1.2 do not."""
_LINE_BREAK = re.compile("\r\n|\r|\n")
_NULL = frozenset({"", "~", "null"})
_TRUTH = {"true": True, "false": False}


class UnreadableYaml(Exception):
    """The text is not acceptable YAML, and was not read further."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass
class YamlTree:
    """A document's values, lists and mappings."""

    root: object = None
    line_by_path: dict[Path, int] = field(default_factory=dict)
    """The line of each key and each list entry, from 1."""
    faults: list[Fault] = field(default_factory=list)
    """Keys given twice; the first one is used."""

    def line_of(self, path: Path) -> int:
        """The line of the value, or of the nearest one around it."""
        while path and path not in self.line_by_path:
            path = path[:-1]
        return self.line_by_path.get(path, 1)


def read_yaml(text: str, scalar_of: Callable[[Path, str], object | None]) -> YamlTree:
    """Reads the text. Calls `scalar_of` for every plain scalar.

    `scalar_of` gets the path and the text as written, and returns the value, or None for the
    default. Raises UnreadableYaml. The caller bounds the text's size.
    """
    separator = _SEPARATOR.search(text)
    if separator is not None:
        raise UnreadableYaml(
            _line_at(text, separator.start()),
            f"holds a line separator of Unicode (U+{ord(separator[0]):04X}); remove it",
        )
    builder = _Builder(yaml.parse(text, Loader=yaml.SafeLoader), scalar_of)
    try:
        return builder.build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be read"
        raise UnreadableYaml(mark.line + 1 if mark else 1, f"is not YAML: {problem}") from error
    except yaml.reader.ReaderError as error:
        raise UnreadableYaml(
            _line_at(text, error.position), "holds a control character; remove it"
        ) from error
    except (ValueError, OverflowError) as error:
        # The parser passes escapes and directives to int() and chr() unchecked.
        raise UnreadableYaml(
            builder.line, "has, here or below, an escape that names no character"
        ) from error


class _Builder:
    def __init__(
        self, events: Iterator[yaml.Event], scalar_of: Callable[[Path, str], object | None]
    ) -> None:
        self._events = events
        self._scalar_of = scalar_of
        self._tree = YamlTree()
        self.line = 1
        """The line of the last event."""

    def build(self) -> YamlTree:
        next(self._events)
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise UnreadableYaml(1, "is empty; write items and banners")
        self._tree.root = self._value((), self._next())
        self._next()
        further = self._next()
        if not isinstance(further, yaml.StreamEndEvent):
            raise UnreadableYaml(self.line, "starts a second document; keep to one")
        return self._tree

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self.line = _line(event)
        if getattr(event, "anchor", None):
            raise UnreadableYaml(
                self.line, "has an anchor or alias (& or *); write the value itself"
            )
        if getattr(event, "tag", None):
            raise UnreadableYaml(self.line, "has a tag (!); leave it out")
        if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
            raise UnreadableYaml(self.line, "has half of a surrogate pair; write the character")
        return event

    def _value(self, path: Path, event: yaml.Event) -> object:
        if len(path) > MAX_DEPTH:
            raise UnreadableYaml(self.line, "nests too deeply; keep to the documented form")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        if not event.implicit[0]:
            return event.value
        offered = self._scalar_of(path, event.value)
        return _plain(event.value) if offered is None else offered

    def _sequence(self, path: Path) -> list[object]:
        values: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            entry = (*path, len(values))
            self._tree.line_by_path[entry] = _line(event)
            values.append(self._value(entry, event))
        return values

    def _mapping(self, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise UnreadableYaml(self.line, "has a key that is no word; write one")
            key, line = event.value, _line(event)
            entry: Path = (*path, key)
            if key in values:
                first = self._tree.line_by_path[entry]
                entry = (*path, f"{key} (again)")
                reason = f"is given twice, first on line {first}; remove one"
                self._tree.faults.append(Fault(entry, reason))
            self._tree.line_by_path[entry] = line
            value = self._value(entry, self._next())
            values.setdefault(key, value)
        return values


def _line_at(text: str, position: int) -> int:
    return len(_LINE_BREAK.findall(text, 0, position)) + 1


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _plain(text: str) -> object:
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
