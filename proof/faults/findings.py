"""What was found to be wrong, by the check that found it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

MOST_OF_A_CHECK = 20


class Check(StrEnum):
    """Everything that is looked at; the value says what holds when all is well."""

    LEDGER = "a balance is the sum of its ledger and never negative"
    SAME_SET = "debits and pulls are the same set, by id, player and amount"
    INVENTORY = "an inventory is the sum of its player's pulls and gifts"
    FAIRNESS = "pities, guarantees and limits are as the items that were drawn say"
    SUCCESSES = "what was answered is there, with exactly those items"
    REFUSALS = "what was refused changed nothing"
    FEES = "fees kept and gifts delivered are the same set, by id, player and amount"
    BOOK = "the provider has kept the money of what was credited, once, and of nothing else"
    SAGAS = "purchases and gifts under way end within a bound"
    UNREQUESTED = "nothing is stored that nobody requested"
    OUTCOMES = "both branches of a gid have its decision's outcome"
    PREPARED = "prepared branches and open decisions end within a bound"
    REPEATS = "a repeated idempotency key gives its first answer, byte for byte"
    READER = "gacha first, account second: no pull without its debit"
    SETTLED = "who repeats a request learns its outcome within a bound"
    SESSIONS = "who repeats a refresh stays logged in, and sees what is stored"
    ANSWERS = "no right request is called wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """`after_seconds` since the run began."""

    check: Check
    detail: str
    after_seconds: float


@dataclass
class Findings:
    """Of one run. Each check keeps its first MOST_OF_A_CHECK findings, and counts the others."""

    began_at: float = field(default_factory=time.monotonic)
    found: list[Finding] = field(default_factory=list)
    counts: dict[Check, int] = field(default_factory=dict)
    _taken_count: int = 0

    def add(self, check: Check, detail: str) -> None:
        self.counts[check] = self.counts.get(check, 0) + 1
        if self.counts[check] <= MOST_OF_A_CHECK:
            self.found.append(Finding(check, detail[:2000], time.monotonic() - self.began_at))

    def extend(self, check: Check, detail: Iterable[str]) -> None:
        for each in detail:
            self.add(check, each)

    def take_new(self) -> list[Finding]:
        """Those that were found since the last call."""
        new = self.found[self._taken_count :]
        self._taken_count += len(new)
        return new

    def is_enough(self, check: Check) -> bool:
        """Whether more findings of the check would tell nothing new."""
        return self.counts.get(check, 0) >= MOST_OF_A_CHECK

    def first(self, check: Check) -> float | None:
        """When the check first failed, in seconds since the run began."""
        return next((each.after_seconds for each in self.found if each.check is check), None)

    @property
    def count(self) -> int:
        return sum(self.counts.values())
