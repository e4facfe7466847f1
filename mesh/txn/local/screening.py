"""Screens batches: takes out what the coordinator's own participant would refuse.

The participant's branch stays the authority. A screen that fails takes nothing out, whatever its
error, so that the branch judges each operation.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline, within
from mesh.errors import DeadlineExceeded, MeshError
from mesh.postgres.database import Database
from mesh.postgres.missing_rows import with_missing_rows
from mesh.txn.model import No, Operation

SCREENING_SECONDS = 10.0
SCREEN_SECONDS = 2.0
"""A screen takes milliseconds, unless its database is frozen."""

log = structlog.get_logger()

Screen = Callable[[Sequence[Operation[object]]], Awaitable[Mapping[str, No]]]
"""Returns the operations that the participant would refuse now, by id. Applies none of them, but
commits the rows that are missing for them, as a branch does (`mesh.postgres.missing_rows`)."""


async def _no_screen(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
    return {}


class Screening:
    """Takes out of batches what the coordinator's own participant would refuse now, so that it
    costs its neighbours nothing. The participant's branch stays the authority.

    Batches are screened for SCREENING_SECONDS after an operation was refused; at other times
    this costs nothing.
    """

    def __init__(
        self, screen: Screen = _no_screen, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._screen = screen
        self._clock = clock
        self._until = -math.inf

    def begin(self) -> None:
        """The participant has refused an operation: batches are screened from now on."""
        self._until = self._clock() + SCREENING_SECONDS

    async def refused(
        self, operations: Sequence[Operation[object]], deadline: Deadline
    ) -> Mapping[str, No]:
        """The refused operations of a batch, by id; none if the screen does not end in time. A
        lone operation is not screened."""
        if len(operations) == 1 or self._clock() > self._until:
            return {}
        try:
            refused = await within(deadline.shortened_to(SCREEN_SECONDS), self._screen(operations))
        except MeshError as error:
            log.warning("fail_screening", reason=error.reason)
            return {}
        except TimeoutError:
            log.warning("fail_screening", reason=DeadlineExceeded.REASON)
            return {}
        except Exception as error:
            # A bug that one operation meets: the branch meets it too, and that one fails alone.
            log.error("fail_screening", exc_info=error)
            return {}
        if refused:
            self.begin()
        return refused


def local_screen(
    database: Database,
    screen: Callable[[Cursor, Sequence[Operation[Any]]], Mapping[str, No]],
) -> Screen:
    """A screen in a transaction that is rolled back, so that its locks end with it and it flushes
    nothing. `screen` may raise RowsMissing, as a branch does: the rows are committed, and it
    begins anew."""

    def work(cursor: Cursor, operations: Sequence[Operation[Any]]) -> Mapping[str, No]:
        cursor.execute("BEGIN")
        refused = screen(cursor, operations)
        cursor.execute("ROLLBACK")
        return refused

    async def screened(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        return await database.autocommit(with_missing_rows(lambda cursor: work(cursor, operations)))

    return screened
