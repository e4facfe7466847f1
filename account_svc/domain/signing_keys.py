"""Which of several keys signs, and when one may go. Pure.

Invariant: no token is refused during its life, although instances read the keys at different
moments and verifiers fetch what is published at others. It holds because

1. a key signs only SETTLE_SECONDS after this process first saw it, and after it was made.
   That is longer than it takes for every other instance to see it too, and for every
   verifier to fetch it from one of them;
2. a key that a newer one took over from stays published for `overlap_seconds` after that,
   which is longer than a token lives; each instance says when that is over, and a key may be
   removed when all of them say so;
3. a process that has just started knows nothing of what was seen when. It counts a key as
   known to all if its predecessor may have been removed by now, and only then: so it
   neither signs with a key that is about to go, nor with one that others may not know.

A key that is removed earlier, because it leaked, ends every token that it signed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

MAX_SIGNING_KEYS = 32
"""How many a process reads, the newest first; nobody cleans up a folder that holds more."""
SETTLE_SECONDS = 30.0
"""Instances look every 5 seconds. A verifier that asked just before asks again 10 seconds after
an answer that took 3, and the next takes 3 too. That makes 21, and what is left is for files that
are copied from one machine to the next."""
MARGIN_SECONDS = 60.0
"""By which the overlap exceeds a token's life: instances do not switch in the same moment, nor
do their clocks agree to the second."""

_FILE_NAME = "%Y%m%dT%H%M%SZ.pem"
_EXACT_FILE_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z\.pem")
_MUST_BE = "it must be the moment of its making, such as 20270131T194500Z.pem"


def file_name(made_at: datetime) -> str:
    """The name of the file of a key that is made then, such as 20270131T194500Z.pem."""
    return made_at.astimezone(UTC).strftime(_FILE_NAME)


def made_at_of(name: str) -> float:
    """When the key of a file of that name was made, in seconds since 1970.

    Raises ValueError when the name is no moment.
    """
    if not _EXACT_FILE_NAME.fullmatch(name):
        raise ValueError(_MUST_BE)
    try:
        return datetime.strptime(name, _FILE_NAME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError(_MUST_BE) from None


class State(StrEnum):
    """What becomes of a key, in this order."""

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
    """What an operator wants to know of a key; times are seconds since 1970, and
    `removable_at` is None while no newer key has taken over."""

    kid: str
    file_name: str
    state: State
    ready_at: float
    removable_at: float | None


class KeyFiles(Protocol):
    """The port to the stored signing keys, for whoever changes them; one change at a time."""

    @property
    def place(self) -> str:
        """Where they lie, for messages to people."""
        ...

    def names(self) -> Mapping[str, str]:
        """The file names of the keys that can be read, by key id, the oldest first."""
        ...

    def make(self, made_at: datetime) -> str:
        """Stores a new key in one step, and returns its id.

        Raises FileExistsError when one was made in the same second, and OSError.
        """
        ...

    def remove(self, kid: str) -> None:
        """Removes a key that `names` has. Raises OSError."""
        ...


class Schedule:
    """Of the keys that a process knows, at least one."""

    def __init__(self, keys: Iterable[ScheduledKey], overlap_seconds: float) -> None:
        self.keys = sorted(keys, key=lambda key: key.made_at)
        assert self.keys, "somebody must sign"
        self._overlap_seconds = overlap_seconds

    def signing(self, now: float) -> ScheduledKey:
        """The newest that is ready. When none is, the oldest, which the most know."""
        ready = [key for key in self.keys if key.ready_at <= now]
        return ready[-1] if ready else self.keys[0]

    def state(self, key: ScheduledKey, now: float) -> State:
        signing = self.signing(now)
        if key.kid == signing.kid:
            return State.SIGNING
        return State.SUPERSEDED if key.made_at < signing.made_at else State.WAITING

    def removable_at(self, key: ScheduledKey, now: float) -> float | None:
        """From when on nothing valid is signed with it, by this process's own knowledge;
        None while no newer key has taken over. In seconds since 1970."""
        took_over = [
            newer.ready_at
            for newer in self.keys
            if newer.made_at > key.made_at and newer.ready_at <= now
        ]
        return min(took_over) + self._overlap_seconds if took_over else None


def overlap_seconds(token_seconds: float) -> float:
    """How long a key stays published after a newer one took over."""
    return token_seconds + MARGIN_SECONDS


def seen_first(kid: str, made_at: float, seen_at: float) -> ScheduledKey:
    """A key that came while this process ran, or of which no more can be said."""
    return ScheduledKey(kid, made_at, max(made_at, seen_at) + SETTLE_SECONDS)


def found_at_start(
    kid: str, made_at: float, started_at: float, overlap_seconds: float
) -> ScheduledKey:
    """A key that was there when this process started."""
    if made_at + SETTLE_SECONDS + overlap_seconds <= started_at:
        return ScheduledKey(kid, made_at, started_at)
    return seen_first(kid, made_at, started_at)
