"""The file descriptor that log lines go to. It may fail, for example when its disk is full.

Writing never raises, so that no work ends because of its log. A line that cannot be written is
dropped and counted. As soon as a line can be written again, a line before it says how many were
lost. A line that broke off in the middle is ended first, so that the next one is readable.
"""

import os
import threading
from collections.abc import Callable


class LogOutput:
    """Writes lines to one file descriptor. Thread-safe. It has the methods of a logger, as
    structlog needs them."""

    def __init__(self, descriptor: int, say_lost: Callable[[int], bytes]) -> None:
        """`say_lost` returns the line that says how many lines were lost."""
        self._descriptor = descriptor
        self._say_lost = say_lost
        self._lock = threading.Lock()
        self._lost_count = 0
        self._unsaid_count = 0
        self._is_torn = False

    @property
    def lost_count(self) -> int:
        """How many lines were lost since the start."""
        return self._lost_count

    def write(self, line: bytes) -> None:
        """Writes the line and a line break, or counts the line as lost."""
        with self._lock:
            if self._has_said_lost() and self._has_written(line):
                return
            self._count_lost()

    debug = info = warning = error = critical = write

    def lose(self) -> None:
        """Counts a line that could not even be rendered."""
        with self._lock:
            self._count_lost()

    def _count_lost(self) -> None:
        self._lost_count += 1
        self._unsaid_count += 1

    def _has_said_lost(self) -> bool:
        if self._unsaid_count:
            if not self._has_written(self._say_lost(self._unsaid_count)):
                return False
            self._unsaid_count = 0
        return True

    def _has_written(self, line: bytes) -> bool:
        whole = (b"\n" if self._is_torn else b"") + line + b"\n"
        written_bytes = 0
        try:
            # A disk that fills up takes the beginning of a line before it refuses the rest.
            while written_bytes < len(whole):
                written_bytes += os.write(self._descriptor, whole[written_bytes:])
        except OSError:
            if written_bytes:
                self._is_torn = whole[written_bytes - 1 : written_bytes] != b"\n"
            return False
        self._is_torn = False
        return True
