"""What becomes of a saga that did not move: it is due again after a pause, or parked.

A step that failed is tried again after a growing pause, up to `max_attempts` times in one state.
Then the saga is parked: it is logged as an error, and waits for a person. Waiting for an outside
system never parks a saga, however long that system is away or silent: its end would leave every
saga of that time to a person.
"""

from collections.abc import Callable

import structlog

from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.saga import rows
from mesh.saga.definition import Saga

log = structlog.get_logger()


class Postponing:
    """Ends the leases of sagas that did not move. If the database is down, they expire instead."""

    def __init__(
        self,
        database: Database,
        *,
        first_pause_seconds: float,
        longest_pause_seconds: float,
        max_attempts: int,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` returns numbers in [0, 1)."""
        self._database = database
        self._first_pause_seconds = first_pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._max_attempts = max_attempts
        self._jitter = jitter

    async def wait_on(self, saga: Saga, reason: str, pause_seconds: float | None = None) -> None:
        """Retries without limit, after the growing pause unless another is given. The count stays
        at half of `max_attempts`, so that the other half remains for failures."""
        count = min(saga.attempt_count + 1, self._max_attempts // 2)
        if pause_seconds is None:
            pause_seconds = self._pause_seconds(saga.attempt_count)
        await self._postpone(saga, reason, count, pause_seconds)

    async def retry_later(self, saga: Saga, reason: str) -> None:
        """Postpones the saga, or parks it if it has failed too often."""
        count = saga.attempt_count + 1
        is_enough = count >= self._max_attempts
        pause_seconds = None if is_enough else self._pause_seconds(saga.attempt_count)
        await self._postpone(saga, reason, count, pause_seconds)

    async def give_back(self, saga: Saga) -> Saga:
        """Makes the saga due at once, for whoever has a place for it. Nothing was tried. Returns
        it as it was."""
        await self._postpone(saga, saga.reason, saga.attempt_count, 0.0)
        return saga

    async def _postpone(self, saga: Saga, reason: str, count: int, seconds: float | None) -> None:
        """`seconds` is the pause before the next attempt; None parks the saga."""
        fields = {"kind": saga.kind, "saga_id": saga.saga_id, "state": saga.state, "reason": reason}
        try:
            released = await self._database.autocommit(
                lambda cursor: rows.postpone(cursor, saga, reason, count, seconds)
            )
        except MeshError as error:
            log.warning("fail_saga_postponement", **fields | {"reason": error.reason})
            return
        if released is None:
            log.warning("lose_saga_lease", **fields)
        elif released.is_parked:
            log.error("park_saga", **fields)
        else:
            log.info("postpone_saga", **fields)

    def _pause_seconds(self, attempt_count: int) -> float:
        """The pause after an attempt that `attempt_count` others preceded, with jitter."""
        grown_seconds = self._first_pause_seconds * 2.0 ** min(attempt_count, 30)
        pause_seconds = min(grown_seconds, self._longest_pause_seconds)
        return pause_seconds * (0.5 + self._jitter() / 2)
