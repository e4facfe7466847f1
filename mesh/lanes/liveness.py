"""Whether the server of a lane gave signs of life: pure, time comes from a clock.

Whatever is read is such a sign. Where calls are under way and nothing is read for a
while, the server is asked for one.
"""

from collections.abc import Callable

LOOK_SECONDS = 0.25
"""How often a lane with calls under way looks whether anything was heard."""
HELD_UP_SECONDS = 0.25
"""A timer that comes later than this shows that this very process was held up."""
SILENCE_SECONDS = 1.0
"""After which a server that was asked for a sign of life, and gave none, counts as silent."""


class Liveness:
    """Of the server at the other end of one lane, which greeted just now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._is_asked = False
        self.owes_question = False
        """Whether the next message must ask for a sign of life."""

    def hear(self) -> None:
        """A message came."""
        self._heard_at = self._clock()
        self._is_asked = False

    def look(self) -> None:
        """To be called each LOOK_SECONDS while calls are under way."""
        if not self._is_asked and self._clock() - self._heard_at >= LOOK_SECONDS:
            self._is_asked = self.owes_question = True

    def is_silent(self, lateness_seconds: float) -> bool:
        """Whether a call that is given up now waited for a server that gives no sign.

        `lateness_seconds` is by how much it is given up too late: then this process was
        held up, and may not have read what did come.
        """
        if lateness_seconds > HELD_UP_SECONDS:
            return False
        return self._clock() - self._heard_at >= SILENCE_SECONDS
