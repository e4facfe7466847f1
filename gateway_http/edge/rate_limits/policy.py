"""A rate limit in the form of settings and response headers: `500;w=10`.

Source: draft-ietf-httpapi-ratelimit-headers-11. A policy has a quota (q) and a window (w); a
client has r requests left for the next t seconds.
"""

import re
from dataclasses import dataclass

LONGEST_WINDOW_SECONDS = 3600
_WRITTEN = re.compile(r"\s*([1-9][0-9]{0,8})\s*;\s*w\s*=\s*([1-9][0-9]{0,3})\s*")


@dataclass(frozen=True, slots=True)
class Policy:
    """`quota` requests in any `window_seconds`; `name` is a token that clients see.

    `refusal` tells a client that has used up the quota which limit that was.
    """

    name: str
    quota: int
    window_seconds: int
    refusal: str = "Too many requests"

    @property
    def header(self) -> str:
        """The item for the RateLimit-Policy header."""
        return f'"{self.name}";q={self.quota};w={self.window_seconds}'


def parse_policy(name: str, written: str) -> Policy:
    """Reads `QUOTA;w=SECONDS`. Raises ValueError with the expected form."""
    match = _WRITTEN.fullmatch(written)
    if match is None or int(match[2]) > LONGEST_WINDOW_SECONDS:
        raise ValueError(
            "must be QUOTA;w=SECONDS, at most 999999999 requests in at most "
            f"{LONGEST_WINDOW_SECONDS} seconds, such as 500;w=10"
        )
    return Policy(name, int(match[1]), int(match[2]))
