"""Which instances said that they are overloaded, and until when they are not asked again.

What an instance refused at its door is not sent to it again before its hint has
passed, for calls of that kind alone. So a flood costs an overloaded server one refusal
for each hint, and whoever sends it a look into a table.

Pure: no I/O; clock and randomness are arguments.
"""

from collections.abc import Callable, Collection, Iterable

from mesh.contract.retry_hints import bounded_hint_seconds
from mesh.contract.terms import WorkKind

SPREAD = 0.25
"""A hint is lengthened by up to this share, so that callers do not come back together."""
_NOBODY: Collection[str] = ()


class HoldOffs:
    """Of the instances of one service."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds; `jitter` gives numbers in [0, 1)."""
        self._clock = clock
        self._jitter = jitter
        self._until: dict[WorkKind, dict[str, float]] = {}

    def begin(self, instance_id: str, kind: WorkKind, hint_seconds: float | None) -> None:
        """The instance refused a call of that kind, and said when to come back."""
        seconds = bounded_hint_seconds(hint_seconds or 0.0)
        until = self._clock() + seconds * (1 + SPREAD * self._jitter())
        self._until.setdefault(kind, {})[instance_id] = until

    def held(self, kind: WorkKind) -> Collection[str]:
        """The ids of the instances that are not asked for that kind of work now."""
        held = self._until.get(kind)
        if not held:
            return _NOBODY
        now = self._clock()
        for instance_id in [id for id, until in held.items() if until <= now]:
            del held[instance_id]
        return held.keys()

    def seconds_left(self, kind: WorkKind) -> float:
        """When the first of them may be asked again; 0 when none is held."""
        held = self._until.get(kind, {})
        return max(0.0, min(held.values(), default=0.0) - self._clock())

    def retain(self, instance_ids: Iterable[str]) -> None:
        """Forgets all other instances."""
        wanted = set(instance_ids)
        for held in self._until.values():
            for instance_id in held.keys() - wanted:
                del held[instance_id]
