"""The offset of a database's clock, on a real PostgreSQL whose now() is shifted."""

import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from mesh.postgres.clock_offset import ClockOffset
from mesh.postgres.database import Database, DatabaseAway
from mesh.postgres.pulse import Pulse
from tests.storage.shifted_clock import shift_clock


async def offset_of(database_url: str, seconds: float) -> tuple[ClockOffset, CollectorRegistry]:
    """Measured over new sessions, after a shift by `seconds`."""
    admin = Database(database_url, connection_count=1)
    await admin.autocommit(lambda cursor: shift_clock(cursor, seconds))
    admin.close()
    registry = CollectorRegistry()
    database = Database(database_url, connection_count=1)
    offset = ClockOffset(Pulse(database).beat, registry)
    await offset.measure()
    database.close()
    return offset, registry


@pytest.mark.parametrize("seconds", [-4000.0, -32.0, -20.0, 0.0, 20.0, 32.0, 61.0])
async def test_the_offset_is_measured_reported_and_logged(
    database_url: str, seconds: float
) -> None:
    with capture_logs() as lines:
        offset, registry = await offset_of(database_url, seconds)
    assert offset.seconds == pytest.approx(seconds, abs=1.0)
    assert registry.get_sample_value("database_clock_offset_seconds") == offset.seconds
    events = [line["event"] for line in lines]
    if abs(seconds) > 30:
        assert events == ["exceed_clock_offset"]
        assert lines[0]["log_level"] == "error"
        assert lines[0]["offset_seconds"] == pytest.approx(seconds, abs=1.0)
    else:
        assert events == (["notice_clock_offset"] if seconds else [])


async def test_a_slow_measurement_is_no_offset(database_url: str) -> None:
    times = iter([1000.0, 4_000_000_000.0])
    database = Database(database_url, connection_count=1)
    offset = ClockOffset(Pulse(database).beat, CollectorRegistry(), clock=lambda: next(times))
    await offset.measure()
    database.close()
    assert offset.seconds == 0.0


async def test_each_change_is_logged_once(database_url: str) -> None:
    shifts = [0.0, 0.0, 5.0, 6.0, 61.0, 62.0, 0.0, 0.0]
    times = (time.time() - shift for shift in shifts for _ in range(2))
    database = Database(database_url, connection_count=1)
    offset = ClockOffset(Pulse(database).beat, CollectorRegistry(), clock=lambda: next(times))
    with capture_logs() as lines:
        for _ in shifts:
            await offset.measure()
    database.close()
    assert [line["event"] for line in lines] == [
        "notice_clock_offset",
        "exceed_clock_offset",
        "end_clock_offset",
    ]


async def test_a_database_that_is_away_is_no_offset() -> None:
    registry = CollectorRegistry()
    database = Database("postgresql://nobody@127.0.0.1:1/none", connection_count=1)
    offset = ClockOffset(Pulse(database).beat, registry)
    with capture_logs() as lines, pytest.raises(DatabaseAway):
        await offset.measure()
    assert offset.seconds is None
    assert [line["event"] for line in lines] == []
