"""Hold-offs: instances that reported an overload are skipped until their retry hint passes.

A hold-off is for one kind of work. A flood therefore costs an overloaded server one refusal
per caller and hint; the other calls are refused at the caller, by a lookup in a table.

Pure: no I/O; clock and randomness are arguments.
"""

from collections.abc import Callable, Collection, Iterable

from mesh.contract.method_config import WorkKind
from mesh.contract.retry_hints import bounded_hint_seconds

SPREAD = 0.25
"""A hint is lengthened by up to this share, so that callers do not all return at once."""
_NO_INSTANCES: Collection[str] = ()


class HoldOffs:
    """The hold-offs of one service's instances."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds; `jitter` returns numbers in [0, 1)."""
        self._clock = clock
        self._jitter = jitter
        self._until: dict[WorkKind, dict[str, float]] = {}

    def begin(self, instance_id: str, kind: WorkKind, hint_seconds: float | None) -> None:
        """Holds the instance off for that kind of work, for the hint within its bounds."""
        seconds = bounded_hint_seconds(hint_seconds or 0.0)
        until = self._clock() + seconds * (1 + SPREAD * self._jitter())
        self._until.setdefault(kind, {})[instance_id] = until

    def held(self, kind: WorkKind) -> Collection[str]:
        """The ids of the instances that are held off for that kind of work now."""
        held = self._until.get(kind)
        if not held:
            return _NO_INSTANCES
        now = self._clock()
        for instance_id in [id for id, until in held.items() if until <= now]:
            del held[instance_id]
        return held.keys()

    def seconds_left(self, kind: WorkKind) -> float:
        """Seconds until the first hold-off of that kind ends; 0 if there is none."""
        held = self._until.get(kind, {})
        return max(0.0, min(held.values(), default=0.0) - self._clock())

    def retain(self, instance_ids: Iterable[str]) -> None:
        """Drops the hold-offs of all other instances."""
        wanted = set(instance_ids)
        for held in self._until.values():
            for instance_id in held.keys() - wanted:
                del held[instance_id]
