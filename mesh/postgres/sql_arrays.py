"""Columns of values as the text that PostgreSQL reads arrays from: '{...}'.

psycopg2 would write each value as an expression of its own, which costs both sides
several times as much as all the rest of a small statement.
"""

from collections.abc import Iterable


def array_of_plain(values: Iterable[object]) -> str:
    """For UUIDs, numbers and booleans: whatever has no text that needs quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def array_of_text(values: Iterable[str]) -> str:
    """For any text without NUL."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
