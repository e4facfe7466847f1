"""Decides which of several keys signs, and when a key may be removed. Pure.

Invariant: no token is refused during its life, although instances read the keys, and verifiers
fetch them, at different times. It holds because

1. A key signs only SETTLE_SECONDS after this process first saw it, and after it was made. By
   then every other instance has seen it, and every verifier has fetched it from one of them.
2. A replaced key stays published for `overlap_seconds`, which is longer than a token's life.
   Each instance reports when that time is over; a key may be removed when all of them do.
3. A process that has just started does not know when the keys were first seen. It treats a key
   as known to all only if the key's predecessor may already be removed. So it does not sign
   with a key that is about to be removed, nor with one that others may not know.

Removing a leaked key earlier makes every token that it signed invalid.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

MAX_SIGNING_KEYS = 32
"""How many keys a process reads, the newest first. It ignores the others in the folder."""
SETTLE_SECONDS = 30.0
"""Instances read the folder every 5 seconds. In the worst case a verifier fetched the keys just
before: that took 3 seconds, it waits 10 seconds, and the next fetch takes 3 again. The sum is 21;
the rest is for copying files between machines."""
MARGIN_SECONDS = 60.0
"""By how much the overlap exceeds a token's life, because instances switch at different times
and their clocks differ by some seconds."""

_FILE_NAME = "%Y%m%dT%H%M%SZ.pem"
_EXACT_FILE_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z\.pem")
_MUST_BE = "it must be the time of its creation, such as 20270131T194500Z.pem"


def file_name(made_at: datetime) -> str:
    """The file name of a key made at that time, such as 20270131T194500Z.pem."""
    return made_at.astimezone(UTC).strftime(_FILE_NAME)


def made_at_of(name: str) -> float:
    """The creation time in a key's file name, in seconds since 1970.

    Raises ValueError when the name is not a time.
    """
    if not _EXACT_FILE_NAME.fullmatch(name):
        raise ValueError(_MUST_BE)
    try:
        return datetime.strptime(name, _FILE_NAME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError(_MUST_BE) from None


class State(StrEnum):
    """The states of a key, in their order."""

    WAITING = "waiting"
    SIGNING = "signing"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class ScheduledKey:
    """`ready_at` is when it may sign; both are seconds since 1970."""

    kid: str
    made_at: float
    ready_at: float


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as shown to an operator. Times are seconds since 1970; `removable_at` is None while
    no newer key has replaced it."""

    kid: str
    file_name: str
    state: State
    ready_at: float
    removable_at: float | None


class KeyFiles(Protocol):
    """The port to the stored signing keys, for changing them; one change at a time."""

    @property
    def place(self) -> str:
        """The location of the keys, for messages."""
        ...

    def names(self) -> Mapping[str, str]:
        """The file names of the readable keys, by key id, the oldest first."""
        ...

    def make(self, made_at: datetime) -> str:
        """Stores a new key atomically, and returns its id.

        Raises FileExistsError when a key was made in the same second, and OSError.
        """
        ...

    def remove(self, kid: str) -> None:
        """Removes a key from `names`. Raises OSError."""
        ...


class Schedule:
    """The schedule of the keys that a process knows, at least one."""

    def __init__(self, keys: Iterable[ScheduledKey], overlap_seconds: float) -> None:
        self.keys = sorted(keys, key=lambda key: key.made_at)
        assert self.keys, "a schedule needs a key"
        self._overlap_seconds = overlap_seconds

    def signing(self, now: float) -> ScheduledKey:
        """The newest key that is ready. If none is, the oldest, which most instances know."""
        ready = [key for key in self.keys if key.ready_at <= now]
        return ready[-1] if ready else self.keys[0]

    def state(self, key: ScheduledKey, now: float) -> State:
        signing = self.signing(now)
        if key.kid == signing.kid:
            return State.SIGNING
        return State.SUPERSEDED if key.made_at < signing.made_at else State.WAITING

    def removable_at(self, key: ScheduledKey, now: float) -> float | None:
        """When its last token has expired, as far as this process knows, in seconds since 1970;
        None while no newer key has replaced it."""
        took_over = [
            newer.ready_at
            for newer in self.keys
            if newer.made_at > key.made_at and newer.ready_at <= now
        ]
        return min(took_over) + self._overlap_seconds if took_over else None


def overlap_seconds(token_seconds: float) -> float:
    """How long a key stays published after a newer one has replaced it."""
    return token_seconds + MARGIN_SECONDS


def seen_first(kid: str, made_at: float, seen_at: float) -> ScheduledKey:
    """A key that appeared while this process ran, or that has no known history."""
    return ScheduledKey(kid, made_at, max(made_at, seen_at) + SETTLE_SECONDS)


def found_at_start(
    kid: str, made_at: float, started_at: float, overlap_seconds: float
) -> ScheduledKey:
    """A key that existed when this process started."""
    if made_at + SETTLE_SECONDS + overlap_seconds <= started_at:
        return ScheduledKey(kid, made_at, started_at)
    return seen_first(kid, made_at, started_at)
