"""Bounds of the retry hint of an overloaded server: after how long to try again.

Servers keep the hints that they send within these bounds; callers clamp the hints that
they receive.
"""

SHORTEST_HINT_SECONDS = 0.1
LONGEST_HINT_SECONDS = 5.0


def bounded_hint_seconds(seconds: float) -> float:
    """The hint within its bounds: bounded below to avoid retry storms, above so that callers
    can wait for it."""
    return min(max(seconds, SHORTEST_HINT_SECONDS), LONGEST_HINT_SECONDS)
