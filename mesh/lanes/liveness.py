"""Whether the server of a lane is alive. Pure; the clock is an argument.

Every message from the server is a sign of life. While calls are in flight and no message
arrives for a while, the client requests one.
"""

from collections.abc import Callable

LOOK_SECONDS = 0.25
"""How often a lane with calls in flight checks for messages from the server."""
HELD_UP_SECONDS = 0.25
"""If a timer fires later than this, this process itself stood still."""
SILENCE_SECONDS = 1.0
"""After this long without a message, the server counts as silent."""


class Liveness:
    """The state of the server of one lane. Starts when the server's greeting has arrived."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._is_asked = False
        self.owes_question = False
        """Whether the next message must request a sign of life."""

    def hear(self) -> None:
        """A message arrived."""
        self._heard_at = self._clock()
        self._is_asked = False

    def look(self) -> None:
        """Call it every LOOK_SECONDS while calls are in flight."""
        if not self._is_asked and self._clock() - self._heard_at >= LOOK_SECONDS:
            self._is_asked = self.owes_question = True

    def is_silent(self, lateness_seconds: float) -> bool:
        """Whether the server of a call that times out now is silent.

        `lateness_seconds` is how late the call's timer fired. If it fired late, this process
        stood still and may have unread messages, so the server does not count as silent.
        """
        if lateness_seconds > HELD_UP_SECONDS:
            return False
        return self._clock() - self._heard_at >= SILENCE_SECONDS
