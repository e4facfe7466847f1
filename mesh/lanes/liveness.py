"""Whether the server of a lane is alive. Pure; the clock is an argument.

Every message from the server shows that it is alive. While calls are in flight and no message
arrives for a while, the client sends a ping, which the server answers at once.
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
        self._last_message_at = clock()
        self._is_pinged = False
        self.must_ping = False
        """Whether the next message must be a ping, which the server answers at once."""

    def record_message(self) -> None:
        """Call it when a message has arrived."""
        self._last_message_at = self._clock()
        self._is_pinged = False

    def look(self) -> None:
        """Call it every LOOK_SECONDS while calls are in flight."""
        if not self._is_pinged and self._clock() - self._last_message_at >= LOOK_SECONDS:
            self._is_pinged = self.must_ping = True

    def is_silent(self, lateness_seconds: float) -> bool:
        """Whether the server of a call that times out now is silent.

        `lateness_seconds` is how late the call's timer fired. If it fired late, this process
        stood still and may have unread messages, so the server does not count as silent.
        """
        if lateness_seconds > HELD_UP_SECONDS:
            return False
        return self._clock() - self._last_message_at >= SILENCE_SECONDS
