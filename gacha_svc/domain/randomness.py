"""Unbiased choices from a given source of random bytes."""

from collections.abc import Callable

RandomBytes = Callable[[int], bytes]
"""Returns that many random bytes, such as `secrets.token_bytes`."""

MAX_ATTEMPTS = 256
"""A sound source is refused 256 times in a row with a probability below 2**-256."""


def uniform_below(bound: int, random_bytes: RandomBytes) -> int:
    """Chooses a whole number from 0 to `bound` - 1, each with exactly the same chance.

    Uses the fewest bytes that can hold the bound. Values above its last whole multiple are drawn
    again (rejection sampling), because a plain remainder would favour low numbers. Raises
    RuntimeError when the source returns only refused values, which happens only if it is broken.
    """
    assert bound > 0, "bound must be at least 1"
    if bound == 1:
        return 0
    byte_count = ((bound - 1).bit_length() + 7) // 8
    limit = (256**byte_count // bound) * bound
    for _ in range(MAX_ATTEMPTS):
        drawn = random_bytes(byte_count)
        assert len(drawn) == byte_count, "the source must return the requested number of bytes"
        value = int.from_bytes(drawn, "big")
        if value < limit:
            return value % bound
    raise RuntimeError("The source of random bytes repeats itself; replace it.")
