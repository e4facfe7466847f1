"""The order of the windows of two meshes."""

from collections.abc import Iterator
from contextlib import contextmanager

from proof.bench.against.alternation import Alternation
from proof.bench.plan import Plan


class NotedRun:
    """Notes what is measured instead of measuring it."""

    def __init__(self, name: str, plan: Plan, noted: list[str]) -> None:
        self.plan = plan
        self._name, self._noted = name, noted

    @contextmanager
    def tables(self) -> Iterator[None]:
        self._noted.append(f"{self._name} begins")
        yield
        self._noted.append(f"{self._name} ends")

    def note_speed(self) -> None:
        self._noted.append(f"{self._name} speed")

    def title(self, kind: str, count: int) -> str:
        return f"{kind} {count}"

    def take(self, kind: str, count: int) -> None:
        self._noted.append(f"{self._name} {kind} {count}")


def test_each_point_is_a_pair_and_each_comes_first_in_turn() -> None:
    noted: list[str] = []
    plan = Plan([1, 4], 1.0, 2, 4, ["pulls"])
    ours, theirs = NotedRun("ours", plan, noted), NotedRun("theirs", plan, noted)
    reported = list(Alternation(ours, theirs, "HEAD~1").samples())
    assert noted == [
        *("ours begins", "theirs begins"),
        *("ours speed", "theirs speed"),
        *("ours pulls 1", "theirs pulls 1", "ours pulls 4", "theirs pulls 4"),
        *("ours speed", "theirs speed"),
        *("theirs pulls 1", "ours pulls 1", "theirs pulls 4", "ours pulls 4"),
        *("theirs ends", "ours ends"),
    ]
    assert len(reported) == 8
    assert reported[0] == "round 1 of 2, present code: pulls 1"
    assert reported[4] == "round 2 of 2, HEAD~1: pulls 1"
