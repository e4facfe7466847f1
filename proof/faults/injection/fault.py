"""The interface of a fault."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proof.faults.injection.target import Target

KILL = "SIGKILL from outside"


class Group(StrEnum):
    """A round has at most one fault of each group; a LOSS is never combined with others."""

    POINT = "points"
    KILL = "kills"
    MESSAGES = "messages"
    DATABASE = "databases"
    PAYMENTS = "payments"
    LOSS = "losses"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class InjectionContext:
    """What an injection has access to."""

    target: Target
    chance: random.Random
    stalls_seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` groups it in the summary; `inject` returns whether the fault happened."""

    name: str
    group: Group
    kind: str
    inject: Callable[[InjectionContext], bool]
