"""Writes a column of values as a PostgreSQL array literal: '{...}'.

psycopg2 would write each value as a separate expression. For a small statement that costs
both sides several times as much as everything else.
"""

from collections.abc import Collection, Iterable


def array_of_plain(values: Iterable[object]) -> str:
    """For UUIDs, numbers and booleans, whose text needs no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def array_of_text(values: Collection[str]) -> str:
    """For any text without NUL."""
    if not values:
        return "{}"
    # All values are escaped at once, because each call for one of them costs more than its work.
    joined = "\0".join(values)
    assert joined.count("\0") == len(values) - 1, "PostgreSQL stores no NUL"
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')
    return f'{{"{escaped}"}}'
