"""The participant client for a participant in this process, and its screen: no RPC."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline, within
from mesh.errors import DeadlineExceeded, Internal, MeshError
from mesh.postgres.database import Database
from mesh.txn.missing_rows import with_missing_rows
from mesh.txn.model import No, Operation, Vote
from mesh.txn.participant import Participant

SCREENING_SECONDS = 10.0

T = TypeVar("T")
log = structlog.get_logger()


class LocalParticipant:
    """A `mesh.txn.coordinator.ParticipantClient` for the coordinator's own database."""

    def __init__(
        self, participant: Participant[Any, Any], clock: Callable[[], float] = time.time
    ) -> None:
        self._participant = participant
        self._clock = clock

    async def prepare(
        self,
        gid: str,
        coordinator: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        """See `ParticipantClient`."""
        expires_at_seconds = self._clock() + deadline.remaining_seconds()
        return await _in_time(
            deadline, self._participant.prepare(gid, expires_at_seconds, operations)
        )

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """See `ParticipantClient`."""
        await _in_time(deadline, self._participant.commit(gid))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        """See `ParticipantClient`."""
        await _in_time(deadline, self._participant.abort(gid))


Screen = Callable[[Sequence[Operation[object]]], Awaitable[Mapping[str, No]]]
"""Returns the operations that the participant would refuse now, by id. Changes nothing."""


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

    async def refused(self, operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        """The refused operations of a batch, by id. A lone operation is not screened."""
        if len(operations) == 1 or self._clock() > self._until:
            return {}
        try:
            refused = await self._screen(operations)
        except MeshError as error:
            log.warning("fail_screening", reason=error.reason)
            return {}
        if refused:
            self.begin()
        return refused


def local_screen(
    database: Database,
    screen: Callable[[Cursor, Sequence[Operation[Any]]], Mapping[str, No]],
) -> Screen:
    """A screen in a transaction that is rolled back, so that its locks end with it and it flushes
    nothing. `screen` may raise RowsMissing, as a branch does."""

    def work(cursor: Cursor, operations: Sequence[Operation[Any]]) -> Mapping[str, No]:
        cursor.execute("BEGIN")
        refused = screen(cursor, operations)
        cursor.execute("ROLLBACK")
        return refused

    async def screened(operations: Sequence[Operation[object]]) -> Mapping[str, No]:
        return await database.autocommit(with_missing_rows(lambda cursor: work(cursor, operations)))

    return screened


async def _in_time(deadline: Deadline, running: Awaitable[T]) -> T:
    try:
        return await within(deadline, running)
    except TimeoutError as error:
        raise DeadlineExceeded("The database did not answer in time.") from error
    except MeshError:
        raise
    except Exception as error:
        # As a remote server would do with a bug of its own. An unknown exception would end the
        # batch without an abort and without halving.
        log.error("fail_local_participant", exc_info=error)
        raise Internal("The coordinator's own participant failed.") from error
