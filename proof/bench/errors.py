"""Why a measurement has no result."""


class BenchFailed(Exception):
    """Nothing can be measured; the message says why, and what to do."""
