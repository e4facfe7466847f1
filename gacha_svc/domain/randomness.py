"""Unbiased choices from a source of random bytes that is handed in."""

from collections.abc import Callable

RandomBytes = Callable[[int], bytes]
"""Gives that many random bytes, such as `secrets.token_bytes`."""

MAX_ATTEMPTS = 256
"""A sound source is refused 256 times in a row less often than once in 2**256."""


def uniform_below(bound: int, random_bytes: RandomBytes) -> int:
    """Chooses a whole number from 0 to `bound` - 1, each with exactly the same chance.

    Takes the fewest whole bytes that can hold the bound. The values above its last
    whole multiple are drawn anew (rejection sampling), for a remainder alone would
    prefer the low numbers. Raises RuntimeError when the source keeps giving refused
    values, which only a broken one does.
    """
    assert bound > 0, "bound must be at least 1"
    if bound == 1:
        return 0
    byte_count = ((bound - 1).bit_length() + 7) // 8
    limit = (256**byte_count // bound) * bound
    for _ in range(MAX_ATTEMPTS):
        drawn = random_bytes(byte_count)
        assert len(drawn) == byte_count, "the source must give as many bytes as were asked for"
        value = int.from_bytes(drawn, "big")
        if value < limit:
            return value % bound
    raise RuntimeError("The source of random bytes repeats itself; replace it.")
