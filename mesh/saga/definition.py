"""What a kind of saga consists of. Pure.

A saga is in one state at a time. In each state that is not an end there is one step to
do; what it finds out says which state comes next, among those that its definition
allows. Past the pivot there is no way back: those states lead to one end only.
"""

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import DependencyAway


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga as it stands. `body` is JSON: what was asked, and what its steps remembered.

    `attempt_count` is of the step that it is at; `reason` is why the last attempt failed.
    `lease` names whoever drives it, and no other may move it. `is_parked`: it has failed
    too often, and waits for a person.
    """

    saga_id: str
    kind: str
    state: str
    body: Mapping[str, Any]
    attempt_count: int
    reason: str
    lease: str
    is_parked: bool


@dataclass(frozen=True, slots=True)
class Move:
    """Where a step leads, and what changes in this database on the way, in one transaction.

    `apply` makes the changes and returns the next state; it may choose another one than
    was expected as long as the definition allows it, and raises, with a retryable
    MeshError, what makes the step be tried again later. `remember` is added to the body.
    """

    apply: Callable[[Cursor], str]
    remember: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def to(cls, state: str, **remember: Any) -> "Move":
        """To a state, with nothing else to change."""
        return cls(lambda cursor: state, remember)


class StillWaiting(DependencyAway):
    """Somebody outside has not finished yet. This is no failure, however often it comes."""

    REASON = "STILL_WAITING"


Step = Callable[[Saga, Deadline], Awaitable[Move]]
"""Finds out where to go. It may be done any number of times, by several at once, and must
not change anything but what is named by a key of the saga. Raises MeshError to be tried
again later, StillWaiting if nothing has failed; what is final it must turn into a move."""


@dataclass(frozen=True, slots=True)
class State:
    """What is done in a state, and where that may lead."""

    step: Step
    leads_to: Set[str]


class Definition:
    """A kind of saga."""

    def __init__(self, kind: str, begins_in: str, states: Mapping[str, State]) -> None:
        """States that are led to and have no step are the ends."""
        self.kind = kind
        self.begins_in = begins_in
        self._states = dict(states)
        led_to = {state for each in states.values() for state in each.leads_to}
        self.ends = frozenset(led_to - states.keys())
        assert begins_in in states, "a saga begins with a step"
        assert states.keys() <= led_to | {begins_in}, "every step can be reached"
        assert self.ends, "a saga can end"

    def step_of(self, state: str) -> Step:
        """What is to be done in a state that is no end."""
        return self._states[state].step

    def is_end(self, state: str) -> bool:
        return state in self.ends

    def allows(self, before: str, after: str) -> bool:
        """Whether a state may follow another."""
        return before in self._states and after in self._states[before].leads_to
