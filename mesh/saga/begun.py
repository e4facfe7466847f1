"""A record whose saga begins in the same transaction, on its way to the caller."""

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.saga.definition import Saga
from mesh.saga.runner import SagaRunner

Record = TypeVar("Record")


@dataclass(slots=True, eq=False)
class Begun(Generic[Record]):
    """The stored record of a call, and the saga if this call started it."""

    record: Record
    saga: Saga | None = None
    driving: "asyncio.Task[Saga] | None" = None
    """The saga's task, once `drive` was called."""

    def drive(self, runner: SagaRunner) -> None:
        """Drives the saga, if there is one. Call it after the commit and outside the caller's
        task: a caller that leaves must not leave a leased saga that nobody drives."""
        if self.saga is not None:
            self.driving = runner.drive(self.saga)
