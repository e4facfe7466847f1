"""The findings of a run, by the check that made them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

MOST_OF_A_CHECK = 20


class Check(StrEnum):
    """Every check; the value is the invariant that it checks."""

    LEDGER = "a balance is the sum of its ledger and never negative"
    SAME_SET = "debits and pulls are the same set, by id, player and amount"
    INVENTORY = "an inventory is the sum of its player's pulls and gifts"
    FAIRNESS = "draws keep odds, prices, pity, guarantees and limits"
    SUCCESSES = "what was answered is there, with exactly those items"
    REFUSALS = "what was refused changed nothing"
    FEES = "fees kept and gifts delivered are the same set, by id, player and amount"
    BOOK = "the provider kept the money of credited purchases, once, and no other money"
    SAGAS = "purchases and gifts under way end within a bound"
    UNREQUESTED = "everything that is stored was requested"
    OUTCOMES = "both branches of a gid have its decision's outcome"
    PREPARED = "prepared branches and open decisions end within a bound"
    REPEATS = "a repeated idempotency key gives its first answer, byte for byte"
    READER = "account first, gacha second: no debit without its pull"
    SETTLED = "a repeated request gets its outcome within a bound"
    SESSIONS = "a repeated refresh keeps the session, and returns what is stored"
    ANSWERS = "no valid request is called invalid"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation; `after_seconds` counts from the start of the run."""

    check: Check
    detail: str
    after_seconds: float


@dataclass
class Findings:
    """The findings of one run. All are counted; the first MOST_OF_A_CHECK of a check are kept."""

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
        """The findings since the last call."""
        new = self.found[self._taken_count :]
        self._taken_count += len(new)
        return new

    def is_enough(self, check: Check) -> bool:
        """Whether the check has its maximum of findings."""
        return self.counts.get(check, 0) >= MOST_OF_A_CHECK

    def first(self, check: Check) -> float | None:
        """When the check first failed, in seconds since the run began."""
        return next((each.after_seconds for each in self.found if each.check is check), None)

    @property
    def count(self) -> int:
        return sum(self.counts.values())
