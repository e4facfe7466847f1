"""Every call of a run: its end, its duration, and its answer."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

OK = "ok"
CONNECTION_LOST = "connection lost"
"""A connection to the gateway closed before the answer; the mesh cannot prevent that error."""


class ClientKind(StrEnum):
    """Which client made a call."""

    REST = "rest"
    CLIENT = "mesh client"
    PLAIN = "plain channel"


@dataclass(frozen=True, slots=True)
class Call:
    """`answer` is OK or a code and a reason; `target` is the instance of a plain call."""

    client_kind: ClientKind
    began_at: float
    seconds: float
    answer: str
    target: str = ""

    @property
    def ended_at(self) -> float:
        """Monotonic."""
        return self.began_at + self.seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of the calls within a period."""

    count: int
    errors: Counter[str]
    worst_seconds: float
    p99_seconds: float


@dataclass
class CallLog:
    """The calls of one run, in the order of their ends."""

    all: list[Call] = field(default_factory=list)

    def add(self, client_kind: ClientKind, began_at: float, answer: str, target: str = "") -> None:
        self.all.append(Call(client_kind, began_at, time.monotonic() - began_at, answer, target))

    @contextmanager
    def window(self) -> Iterator[list[Call]]:
        """After the context, the list has the calls that ended within it."""
        first = len(self.all)
        taken: list[Call] = []
        yield taken
        taken += self.all[first:]


def figures(calls: Sequence[Call]) -> Figures:
    """Errors are counted by the kind of client that saw them."""
    seconds = sorted(call.seconds for call in calls) or [0.0]
    errors = Counter(f"{call.client_kind}: {call.answer}" for call in calls if call.answer != OK)
    p99 = seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)]
    return Figures(len(calls), errors, seconds[-1], p99)
