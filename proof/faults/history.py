"""Requests and their answers, kept in memory and in a file.

The file has one JSON object for each answer, or for the lack of one, in the order in
which they came; it is only ever added to.
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
    """What a player knows of an operation."""

    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class Operation:
    """One operation under one key. `amount` is the count of a pull or a gift, the gems of a
    purchase; `request` is the body that is sent, each time the same."""

    kind: Kind
    user_id: str
    key: str
    amount: int
    request: bytes
    banner_id: str = ""
    """Of a pull."""
    outcome: Outcome = Outcome.UNKNOWN
    body: bytes = b""
    """Of the first successful answer."""
    unknown_count: int = 0
    """The tries after which the outcome was not known."""
    repeat_count: int = 0

    @property
    def id(self) -> str:
        """The id of a pull in both databases; of a purchase or a gift, that of its request,
        of which there may be several attempts."""
        return operation_id(self.kind, self.user_id, self.key)


@dataclass
class History:
    """Of one run."""

    path: Path
    done: list[Operation] = field(default_factory=list)
    refused: list[Operation] = field(default_factory=list)
    operation_ids: set[str] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    """How often each kind of answer came, by its status and reason."""

    def __post_init__(self) -> None:
        self._file = self.path.open("ab")

    def begin(self, operation: Operation) -> None:
        self.operation_ids.add(operation.id)

    def note(self, operation: Operation, status: int, body: bytes) -> None:
        """Adds one answer; status 0 is none."""
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
