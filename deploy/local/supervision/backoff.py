"""When a dead process is restarted: at once, unless it keeps dying.

A process that had become ready and ran for a while is restarted at once. For deaths in a row,
the delay grows up to a bound. From the fifth death in a row on it is a crash loop.
"""

from dataclasses import dataclass

DELAYS_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
LOOP_COUNT = 5
STABLE_SECONDS = 2.0


@dataclass(slots=True)
class Backoff:
    """Counts the deaths in a row of one process; reads no clock."""

    death_count: int = 0

    def delay_seconds_after_death(self, *, lived_seconds: float, was_ready: bool) -> float:
        """Records a death and returns how long to wait before the next start."""
        if was_ready and lived_seconds >= STABLE_SECONDS:
            self.death_count = 0
        self.death_count += 1
        return DELAYS_SECONDS[min(self.death_count, len(DELAYS_SECONDS)) - 1]

    @property
    def is_loop(self) -> bool:
        return self.death_count >= LOOP_COUNT
