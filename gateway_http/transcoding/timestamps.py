"""google.protobuf.Timestamp and Duration in JSON, with nanoseconds.

A Timestamp is RFC 3339, written in UTC with 0, 3, 6 or 9 digits of fraction. A Duration is
seconds with the same digits and an "s".
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from gateway_http.transcoding.json_values import Refused

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LONGEST_SECONDS = 315_576_000_000


def read_timestamp(value: object) -> dict[str, int]:
    """The fields of the Timestamp in a text. Raises Refused."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Refused("must be a time in RFC 3339 form, such as 2026-01-31T12:00:00Z")
    *moment, fraction, sign, hours, minutes = match.groups()
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        elapsed = datetime(*map(int, moment), tzinfo=zone) - _EPOCH  # type: ignore[misc,arg-type]
    except ValueError:
        raise Refused("must be an existing date and time") from None
    seconds = elapsed.days * 86_400 + elapsed.seconds
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise Refused("must be in the years 1 to 9999")
    return {"seconds": seconds, "nanos": _nanos(fraction)}


def write_timestamp(timestamp: Any) -> str:
    """RFC 3339 in UTC; `timestamp` is a google.protobuf.Timestamp."""
    moment = datetime.fromtimestamp(timestamp.seconds, UTC)
    # strftime would not pad years below 1000 on every platform.
    return f"{moment.isoformat()[:19]}{_fraction(timestamp.nanos)}Z"


def read_duration(value: object) -> dict[str, int]:
    """The fields of the Duration in a text. Raises Refused."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > _LONGEST_SECONDS:
        raise Refused("must be a duration in seconds, such as 1.5s")
    sign = -1 if match[1] else 1
    return {"seconds": sign * int(match[2]), "nanos": sign * _nanos(match[3])}


def write_duration(duration: Any) -> str:
    """Seconds; `duration` is a google.protobuf.Duration."""
    sign = "-" if duration.seconds < 0 or duration.nanos < 0 else ""
    return f"{sign}{abs(duration.seconds)}{_fraction(abs(duration.nanos))}s"


def _nanos(fraction: str | None) -> int:
    return int((fraction or "").ljust(9, "0"))


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % 1_000:
        return f".{nanos:09d}"
    if nanos % 1_000_000:
        return f".{nanos // 1_000:06d}"
    return f".{nanos // 1_000_000:03d}"
