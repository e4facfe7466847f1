"""A message of JSON as sections, entries and tables for people, by its descriptor.

Labels are the names of the fields, and notes are their comments in the proto. `mesh.v1.shown`
says the unit of a field and what its empty value means. So a new field of a contract is shown
without a change here. Pure.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protos.mesh.v1 import documents_pb2

NAMING_FIELDS = ("name", "id", "rarity")
"""The fields that name a message, the best first; otherwise its first field does."""
Money = Callable[[int], str]
"""What an amount of gems costs, such as "1.59 USD"; empty if it is not known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with its label and its explanation."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Table:
    """Messages of one type. A column is a label and its explanation."""

    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A message: its single values, and its lists of messages, each followed by the lists in
    their messages. `anchor` is for links within the page."""

    title: str
    anchor: str
    entries: tuple[Entry, ...]
    tables: tuple[Table, ...]


class Presenter:
    """Presents messages."""

    def __init__(self, comments: Mapping[str, str], money: Money) -> None:
        self._comments = comments
        self._money = money

    def section(self, message: Descriptor, value: Mapping[str, Any]) -> Section:
        """The message whose JSON is `value`."""
        title = _name_of(message, value)
        entries = tuple(self._entries(message, value))
        return Section(title, _anchor(title), entries, tuple(self._tables(message, value)))

    def _entries(
        self, message: Descriptor, value: Mapping[str, Any], prefix: str = ""
    ) -> Iterator[Entry]:
        for field in message.fields:
            given = value.get(field.json_name)
            if field.message_type is None:
                label = f"{prefix}{_label(field)}"
                yield Entry(label, self._text(field, given), self._note(field))
            elif not field.is_repeated and isinstance(given, Mapping):
                yield from self._entries(field.message_type, given, f"{_label(field)}: ")

    def _tables(
        self, message: Descriptor, value: Mapping[str, Any], of: str = ""
    ) -> Iterator[Table]:
        for field in message.fields:
            listed = value.get(field.json_name)
            if field.message_type is None or not field.is_repeated or not listed:
                continue
            yield self._table(f"{_label(field)}{of}", field.message_type, listed)
            for each in listed:
                name = _name_of(field.message_type, each)
                yield from self._tables(field.message_type, each, f" of {name}{of}")

    def _table(self, caption: str, message: Descriptor, listed: list[Mapping[str, Any]]) -> Table:
        columns = [field for field in message.fields if field.message_type is None]
        return Table(
            caption,
            tuple((_label(field), self._note(field)) for field in columns),
            tuple(
                tuple(self._text(field, each.get(field.json_name)) for field in columns)
                for each in listed
            ),
        )

    def _note(self, field: FieldDescriptor) -> str:
        """What is said of a field to players: its own note, or its comment."""
        note = _shown(field).note or self._comments.get(field.full_name, "")
        return "" if note == "-" else note

    def _text(self, field: FieldDescriptor, value: Any) -> str:
        shown = _shown(field)
        if value is None or value == [] or value == "" or (value == 0 and shown.empty):
            return shown.empty or "-"
        if isinstance(value, list):
            return ", ".join(_plain(each) for each in value)
        text = f"{_plain(value)} {shown.unit}".rstrip()
        gems = _gems(field, value)
        money = "" if gems is None else self._money(gems)
        return f"{text} ({money})" if money else text


def column_notes(sections: Iterable[Section]) -> list[tuple[str, str]]:
    """Each explanation of a column once, with its label."""
    columns = {
        column: None for section in sections for table in section.tables for column in table.columns
    }
    return [(label, note) for label, note in columns if note]


def gem_amounts(message: Descriptor, value: Mapping[str, Any]) -> Iterator[int]:
    """Every amount of gems in a message and the messages in it, in their order, rounded up."""
    for field in message.fields:
        given = value.get(field.json_name)
        if field.message_type is not None:
            for each in given if isinstance(given, list) else [given] if given else []:
                yield from gem_amounts(field.message_type, each)
        elif (gems := _gems(field, given)) is not None:
            yield gems


def _gems(field: FieldDescriptor, value: object) -> int | None:
    """The amount of gems in a field, rounded up. None if there is none: the field is not of gems,
    or is left out, or is one of JSON's names for what is no number, such as "Infinity"."""
    if _shown(field).is_gems and isinstance(value, int | float) and value > 0:
        return math.ceil(value)
    return None


def _shown(field: FieldDescriptor) -> documents_pb2.Shown:
    return field.GetOptions().Extensions[documents_pb2.shown]


def _name_of(message: Descriptor, value: Mapping[str, Any]) -> str:
    names = [name for name in NAMING_FIELDS if name in message.fields_by_name]
    field = message.fields_by_name[names[0]] if names else message.fields[0]
    return _plain(value.get(field.json_name, ""))


def _label(field: FieldDescriptor) -> str:
    return field.name.replace("_", " ").capitalize()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _anchor(title: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in title.lower())
