"""How far a database's clock is from this process's clock.

The protocol of pulls compares the two: a transaction's id has the time of its coordinator, and
the database decides whether it is still young enough to be committed (mesh/txn/decisions.py).
With clocks that differ by more than MAX_OFFSET_SECONDS, or before they were compared once, a
coordinator begins no transaction of pulls; everything else goes on. MAX_OFFSET_SECONDS is half of
DECIDABLE_SECONDS there, from which on every decision would be an abort.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from mesh.errors import DependencyAway
from mesh.postgres.database import DatabaseAway

MAX_OFFSET_SECONDS = 30.0
NOTABLE_OFFSET_SECONDS = 1.0
"""A larger offset is logged as a warning. Clocks that are synchronized differ by milliseconds."""

log = structlog.get_logger()


class DatabaseClockDiffers(DependencyAway):
    """The database's clock is too far from this process's; nothing was changed."""

    REASON = "DATABASE_CLOCK_DIFFERS"

    def __init__(self, offset_seconds: float) -> None:
        side = "ahead of" if offset_seconds > 0 else "behind"
        super().__init__(
            f"The database's clock is {abs(offset_seconds):.0f} s {side} this service's, too far "
            "for transactions to be decided by it; nothing was changed. Operators: synchronize the "
            "clocks of both machines (NTP).",
            metadata={"offset_seconds": f"{offset_seconds:.1f}"},
        )


class ClockOffset:
    """The offset of one database's clock, as last measured."""

    def __init__(
        self,
        read_time: Callable[[], Awaitable[float]],
        metrics: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`read_time` is `mesh.postgres.pulse.Pulse.beat`: the database's time in Unix seconds, as
        decisions read it. `clock` is this process's. Raises ValueError when the registry has the
        metric already."""
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

    @property
    def is_small(self) -> bool:
        """Whether a coordinator may begin transactions."""
        return self.seconds is not None and abs(self.seconds) <= MAX_OFFSET_SECONDS

    def check(self) -> None:
        """Raises DatabaseClockDiffers, and DatabaseAway while nothing was measured."""
        if self.seconds is None:
            raise DatabaseAway("The database's clock was not read yet; repeat the call soon.")
        if not self.is_small:
            raise DatabaseClockDiffers(self.seconds)

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
        if not self.is_small:
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
