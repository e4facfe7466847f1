"""How long a caller is still willing to wait."""

import time
from collections.abc import Callable, Iterable

from mesh.errors import DeadlineExceeded


class Deadline:
    """A moment on a monotonic clock, passed on from call to call as what is left of it."""

    __slots__ = ("_at", "_clock")

    def __init__(self, at: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at = at
        self._clock = clock

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        return cls(clock() + seconds, clock)

    @staticmethod
    def latest(deadlines: "Iterable[Deadline]") -> "Deadline":
        """The one that is over last."""
        return max(deadlines, key=lambda deadline: deadline._at)

    def remaining_seconds(self) -> float:
        """What is left, never below 0."""
        return max(0.0, self._at - self._clock())

    def is_over(self) -> bool:
        return self._clock() >= self._at

    def check(self) -> None:
        """Raises DeadlineExceeded when nothing is left."""
        if self.is_over():
            raise DeadlineExceeded(
                "The call's deadline has passed; repeat it to learn the outcome."
            )

    def shortened_to(self, seconds: float) -> "Deadline":
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self._at, self._clock() + seconds), self._clock)
