"""Requests and their answers, kept in memory and in a file.

The file has one JSON object for each answer, or for a missing answer, in order. It is only
appended to.
"""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import orjson

from mesh.contract.idempotency import operation_id


class Kind(StrEnum):
    """What a player requests; the value names its operations."""

    PULL = "pull"
    PURCHASE = "purchase"
    GIFT = "gift"


class Outcome(StrEnum):
    """The outcome of an operation, as its player knows it."""

    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class Operation:
    """One operation under one key. `amount` is the count of a pull or a gift, or the gems of a
    purchase. `request` is the body, which is the same in every try."""

    kind: Kind
    user_id: str
    key: str
    amount: int
    request: bytes
    banner_id: str = ""
    """Of a pull."""
    outcome: Outcome = Outcome.UNKNOWN
    body: bytes = b""
    """The body of the first successful answer."""
    unknown_count: int = 0
    """The number of tries with an unknown outcome."""
    repeat_count: int = 0

    @property
    def id(self) -> str:
        """For a pull, its id in both databases. For a purchase or a gift, its intent id, which
        has one purchase or gift."""
        return operation_id(self.kind, self.user_id, self.key)


@dataclass
class History:
    """The operations and answers of one run."""

    path: Path
    done: list[Operation] = field(default_factory=list)
    refused: list[Operation] = field(default_factory=list)
    operation_ids: set[str] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    """The number of answers by status and reason."""

    def __post_init__(self) -> None:
        self._file = self.path.open("ab")

    def begin(self, operation: Operation) -> None:
        self.operation_ids.add(operation.id)

    def note(self, operation: Operation, status: int, body: bytes) -> None:
        """Adds one answer; status 0 means that none arrived."""
        line = {
            "at": time.time(),
            "kind": operation.kind,
            "id": operation.id,
            "user": operation.user_id,
            "key": operation.key,
            "amount": operation.amount,
            "status": status,
            "body": body.decode(errors="replace"),
        }
        self._file.write(orjson.dumps(line) + b"\n")

    def count(self, answer: str) -> None:
        self.answers[answer] = self.answers.get(answer, 0) + 1

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    def flush(self) -> None:
        self._file.flush()
