"""The definition of a kind of saga. Pure.

A saga is in one state at a time. Every state except an end state has one step. The step's
result selects the next state among those that the definition allows. Past the pivot there is
no way back: those states lead to one end only.
"""

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import DependencyAway


@dataclass(frozen=True, slots=True)
class NewSaga:
    """A saga to begin. `owner` names whose work it is, such as a player: owners take turns. `body`
    is JSON."""

    saga_id: str
    owner: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saga:
    """The current state of a saga. `body` is JSON: the request and what its steps remember.

    `attempt_count` counts the attempts of the current step; `reason` says why the last one
    failed. `lease` identifies the driver, which alone may move the saga. `is_parked`: it has
    failed too often and waits for a person.
    """

    saga_id: str
    kind: str
    owner: str
    state: str
    body: Mapping[str, Any]
    attempt_count: int
    reason: str
    lease: str
    is_parked: bool


@dataclass(frozen=True, slots=True)
class Transition:
    """A saga as its driver has read it, and its next state. `remember` is merged into the body."""

    saga: Saga
    state: str
    remember: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """The result of a step: the next state, and the changes to this database in the same
    transaction.

    `apply` makes the changes and returns the next state, which may be any that the definition
    allows. If it raises a retryable MeshError, the step is retried later. `remember` is merged
    into the body.
    """

    apply: Callable[[Cursor], str]
    remember: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlainMove:
    """The result of a step that changes nothing else in this database. It shares its transaction
    with the plain moves of other sagas. `remember` is merged into the body."""

    state: str
    remember: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedMove:
    """The result of a step that shares its transaction with other sagas.

    `carry_out` changes this database and moves the saga by `rows.move` or `rows.move_all` in one
    transaction, and returns the moved saga. It raises MeshError to be retried later, or
    LeaseLost.
    """

    carry_out: Callable[[], Awaitable[Saga]]


class StillWaiting(DependencyAway):
    """An outside system has not finished yet. This never counts as a failure."""

    REASON = "STILL_WAITING"
    PAUSE_SECONDS: ClassVar[float | None] = None
    """The pause before the next attempt; None for one that grows."""


Step = Callable[[Saga, Deadline], Awaitable[Move | PlainMove | SharedMove]]
"""Does the work of a state and returns the move. It may run any number of times, also
concurrently, so it may change outside systems only under a key of the saga. It raises
MeshError to be retried later, or StillWaiting if nothing has failed. A final failure must be
returned as a move."""


@dataclass(frozen=True, slots=True)
class State:
    """The step of a state, and the states that may follow."""

    step: Step
    leads_to: Set[str]


class Definition:
    """A kind of saga."""

    def __init__(self, kind: str, begins_in: str, states: Mapping[str, State]) -> None:
        """Reachable states without a step are the ends."""
        self.kind = kind
        self.begins_in = begins_in
        self._states = dict(states)
        led_to = {state for each in states.values() for state in each.leads_to}
        self.ends = frozenset(led_to - states.keys())
        assert begins_in in states, "a saga begins with a step"
        assert states.keys() <= led_to | {begins_in}, "every step can be reached"
        assert self.ends, "a saga can end"

    def step_of(self, state: str) -> Step:
        """The step of a state that is not an end."""
        return self._states[state].step

    def is_end(self, state: str) -> bool:
        return state in self.ends

    def allows(self, before: str, after: str) -> bool:
        """Whether a state may follow another."""
        return before in self._states and after in self._states[before].leads_to

    def check_move(self, before: str, after: str) -> None:
        """Asserts that a state may follow another."""
        assert self.allows(before, after), f"{before} does not lead to {after}"
