"""Random bytes that follow from a seed, and unbiased choices from any source of random bytes."""

from collections.abc import Callable
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

RandomBytes = Callable[[int], bytes]
"""Returns that many random bytes, such as `secrets.token_bytes`."""

RandomOf = Callable[[str], RandomBytes]
"""Returns the source of the draw that has this seed, a UUID."""

SECRET_PURPOSE = "gacha_svc draws"
"""The purpose under which the secret of all draws follows from gacha_svc's key."""

SEED_BYTES = 16
MAX_ATTEMPTS = 256
"""A sound source is refused 256 times in a row with a probability below 2**-256."""


def seeded(secret: bytes, seed: str) -> RandomBytes:
    """A source whose bytes follow from the secret and the seed, and from nothing else.

    Without the secret they look like random bytes, also to somebody who knows the seed. The bytes
    are HMAC-SHA256 in counter mode (NIST SP 800-108r1, section 4.1). For example:

        items, pity = draw(banner, items_by_id, pity, 10, seeded(secret, seed))
    """
    seed_bytes = bytes.fromhex(seed.replace("-", ""))
    assert len(seed_bytes) == SEED_BYTES, "a seed is a UUID"
    left = b""
    block_count = 0

    def random_bytes(count: int) -> bytes:
        nonlocal left, block_count
        while len(left) < count:
            block_count += 1
            code = _keyed(secret).copy()
            code.update(block_count.to_bytes(4, "big") + seed_bytes)
            left += code.finalize()
        drawn, left = left[:count], left[count:]
        return drawn

    return random_bytes


@lru_cache(maxsize=4)
def _keyed(secret: bytes) -> HMAC:
    """HMAC-SHA256 with this key, of nothing yet. A copy costs a fraction of a new one."""
    return HMAC(secret, SHA256())


def uniform_below(bound: int, random_bytes: RandomBytes) -> int:
    """Chooses a whole number from 0 to `bound` - 1, each with exactly the same chance.

    Uses the fewest bytes that can hold the bound. Values above its last whole multiple are drawn
    again (rejection sampling), because a plain remainder would favour low numbers. Raises
    RuntimeError when the source returns only refused values, which happens only if it is broken.
    """
    assert bound > 0, "bound must be at least 1"
    if bound == 1:
        return 0
    byte_count, limit = _bytes_and_limit(bound)
    for _ in range(MAX_ATTEMPTS):
        drawn = random_bytes(byte_count)
        assert len(drawn) == byte_count, "the source must return the requested number of bytes"
        value = int.from_bytes(drawn, "big")
        if value < limit:
            return value % bound
    raise RuntimeError("The source of random bytes repeats itself; replace it.")


@lru_cache(maxsize=1024)
def _bytes_and_limit(bound: int) -> tuple[int, int]:
    """The fewest bytes that can hold the bound, and its last whole multiple in them."""
    byte_count = ((bound - 1).bit_length() + 7) // 8
    return byte_count, (256**byte_count // bound) * bound
