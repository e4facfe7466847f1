"""Bounds of the hint that an overloaded server gives: after how long a call may come back.

A server sends no hint outside of them, and a caller takes none outside of them.
"""

SHORTEST_HINT_SECONDS = 0.1
LONGEST_HINT_SECONDS = 5.0


def bounded_hint_seconds(seconds: float) -> float:
    """The hint, kept long enough to avoid a retry storm and short enough to be waited for."""
    return min(max(seconds, SHORTEST_HINT_SECONDS), LONGEST_HINT_SECONDS)
