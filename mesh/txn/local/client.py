"""The client of the coordinator's own participant: no RPC."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog

from mesh.deadlines import Deadline, within
from mesh.errors import DeadlineExceeded, Internal, MeshError
from mesh.txn.model import Operation, Vote
from mesh.txn.participant import Participant

T = TypeVar("T")
log = structlog.get_logger()


class LocalParticipant:
    """A `mesh.txn.sides.DecidingParticipantClient` for the coordinator's own database."""

    def __init__(
        self, participant: Participant[Any, Any], clock: Callable[[], float] = time.time
    ) -> None:
        self._participant = participant
        self._clock = clock

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        first_operations: bytes,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        """See `DecidingParticipantClient`."""
        expires_at_seconds = self._clock() + deadline.remaining_seconds()
        return await _in_time(
            deadline,
            self._participant.prepare(gid, expires_at_seconds, operations, first_operations),
        )

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """See `Ends`."""
        await _in_time(deadline, self._participant.commit(gid))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        """See `Ends`."""
        await _in_time(deadline, self._participant.abort(gid))


async def _in_time(deadline: Deadline, running: Awaitable[T]) -> T:
    try:
        return await within(deadline, running)
    except TimeoutError as error:
        raise DeadlineExceeded("The database did not answer in time.") from error
    except MeshError:
        raise
    except Exception as error:
        # As a remote server would do with a bug of its own. The coordinator aborts only after a
        # MeshError.
        log.error("fail_local_participant", exc_info=error)
        raise Internal("The coordinator's own participant failed.") from error
