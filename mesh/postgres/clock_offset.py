"""How far a database's clock is from this process's clock.

No outcome of a transaction depends on it. But the times in ledgers and histories, retention and
the due times of sagas are by the database's clock. So an offset is measured, reported and logged.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

NOTABLE_OFFSET_SECONDS = 1.0
"""A larger offset is logged as a warning. Clocks that are synchronized differ by milliseconds."""
MAX_OFFSET_SECONDS = 30.0
"""A larger offset is logged as an error: somebody has to set a clock."""

log = structlog.get_logger()


class ClockOffset:
    """The offset of one database's clock, as last measured."""

    def __init__(
        self,
        read_time: Callable[[], Awaitable[float]],
        metrics: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`read_time` is `mesh.postgres.pulse.Pulse.beat`: the database's time in Unix seconds.
        `clock` is this process's. Raises ValueError when the registry has the metric already."""
        self._read_time = read_time
        self._clock = clock
        self._gauge = Gauge(
            "database_clock_offset_seconds",
            "How far the database's clock is ahead of this process's clock.",
            registry=metrics,
        )
        self._level = ""
        self.seconds: float | None = None
        """Positive when the database is ahead. The part that the duration of the measurement
        may explain is left out. None until it is measured."""

    async def measure(self) -> None:
        """Measures and reports the offset. Call it regularly. Raises DatabaseAway."""
        began_at = self._clock()
        database_at = await self._read_time()
        ended_at = self._clock()
        if database_at > ended_at:
            seconds = database_at - ended_at
        else:
            seconds = min(0.0, database_at - began_at)
        self.seconds = seconds
        self._gauge.set(seconds)
        self._log_change(seconds)

    def _log_change(self, seconds: float) -> None:
        """Logs when the offset becomes notable, too large, or small again."""
        if abs(seconds) > MAX_OFFSET_SECONDS:
            level = "error"
        elif abs(seconds) > NOTABLE_OFFSET_SECONDS:
            level = "warning"
        else:
            level = ""
        if level == self._level:
            return
        self._level = level
        offset_seconds = round(seconds, 1)
        if level == "error":
            log.error(
                "exceed_clock_offset",
                offset_seconds=offset_seconds,
                max_offset_seconds=MAX_OFFSET_SECONDS,
                remedy="synchronize the clocks of the database and of this machine (NTP)",
            )
        elif level == "warning":
            log.warning("notice_clock_offset", offset_seconds=offset_seconds)
        else:
            log.info("end_clock_offset", offset_seconds=offset_seconds)
