"""The time window in which the load's operations count.

Load runs before and after the window, so that its start and its end are not measured.
PostgreSQL's processes report their counters up to a second late; under steady load the delay is
the same at both ends of the window. Errors count during the whole run.
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
    """The operations completed within the window; latencies are 0 ms if there are none."""

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
        """Records a completed operation."""
        if self._is_open:
            self._latencies_seconds.append(latency_seconds)

    def record_error(self, error: str) -> None:
        """Records a failed or refused operation."""
        with self._lock:
            self._error_count += 1
            self._first_error = self._first_error or error[:LONGEST_ERROR]

    def open(self) -> None:
        """Starts to count, and prints it for the parent process."""
        self._opened_at = self._clock()
        self._is_open = True
        write_line(OPENED)

    def close(self) -> None:
        """Stops counting, and prints it for the parent process."""
        self._is_open = False
        self._duration_seconds = self._clock() - self._opened_at
        write_line(CLOSED)

    def result(self) -> WindowResult:
        """The result of a closed window."""
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
    """Prints a line for the parent process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_result(result: WindowResult) -> None:
    """Prints the last line of a load generator: its result."""
    write_line(orjson.dumps(result).decode())
