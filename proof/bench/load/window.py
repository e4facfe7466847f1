"""The span of time in which operations count, as the process that makes the load sees it.

Load runs before and after the window, so that nothing at its start or its end is
measured, and so that PostgreSQL, whose processes report their counters up to a second
late, is as late at the end as it was at the beginning. Errors count from first to last.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

OPENED = "opened"
CLOSED = "closed"
LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What was completed within the window; 0 ms where nothing was."""

    operation_count: int
    duration_seconds: float
    p50_ms: float
    p99_ms: float
    error_count: int
    first_error: str


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed; 0 of none."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


class Window:
    """Counts operations while it is open. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._is_open = False
        self._opened_at = 0.0
        self._duration_seconds = 0.0
        self._latencies_seconds: list[float] = []
        self._error_count = 0
        self._first_error = ""
        self._lock = threading.Lock()

    def record(self, latency_seconds: float) -> None:
        """An operation was completed just now."""
        if self._is_open:
            self._latencies_seconds.append(latency_seconds)

    def record_error(self, error: str) -> None:
        """An operation failed, or was refused."""
        with self._lock:
            self._error_count += 1
            self._first_error = self._first_error or error[:LONGEST_ERROR]

    def open(self) -> None:
        """Begins to count, and tells whoever started this process."""
        self._opened_at = self._clock()
        self._is_open = True
        write_line(OPENED)

    def close(self) -> None:
        """Ends counting, and tells whoever started this process."""
        self._is_open = False
        self._duration_seconds = self._clock() - self._opened_at
        write_line(CLOSED)

    def result(self) -> WindowResult:
        """For a window that was closed."""
        ascending = sorted(self._latencies_seconds)
        return WindowResult(
            operation_count=len(ascending),
            duration_seconds=self._duration_seconds,
            p50_ms=percentile(ascending, 0.50) * 1000,
            p99_ms=percentile(ascending, 0.99) * 1000,
            error_count=self._error_count,
            first_error=self._first_error,
        )


def write_line(line: str) -> None:
    """Says a line to whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_result(result: WindowResult) -> None:
    """The last line that a process that makes load says."""
    write_line(orjson.dumps(result).decode())
