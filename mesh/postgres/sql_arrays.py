"""Writes a column of values as a PostgreSQL array literal: '{...}'.

psycopg2 would write each value as a separate expression. For a small statement that costs
both sides several times as much as everything else.
"""

from collections.abc import Iterable


def array_of_plain(values: Iterable[object]) -> str:
    """For UUIDs, numbers and booleans, whose text needs no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def array_of_text(values: Iterable[str]) -> str:
    """For any text without NUL."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
