"""The error of a measurement without a result."""


class BenchFailed(Exception):
    """The measurement failed; the message has the reason and the remedy."""
