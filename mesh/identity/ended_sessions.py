"""The sessions of players that have ended while their access tokens are still unexpired.

Verifiers refuse those tokens. The list is fetched every second, each time only what is new; the
account service itself reads it when a question of each second says that there is more. So a
verifier that reaches the account service refuses a token within two seconds after its session has
ended. While fetches fail, the last list stands: the account service being away ends no session.

An id is forgotten when no token of its session can be valid any more. At most MAX_ENDED ids are
kept. Above that those whose sessions ended first are dropped, with a warning, because their tokens
expire first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile

import structlog

from mesh.errors import DataLoss, MeshError, NoKeysYet
from mesh.identity.tokens import PLAYER_TOKEN_SECONDS
from mesh.rounds import Due, pause

FETCH_SECONDS = 1.0
MAX_CLOCK_SKEW_SECONDS = 60.0
KEPT_SECONDS = PLAYER_TOKEN_SECONDS + MAX_CLOCK_SKEW_SECONDS
"""No token of a session is valid so long after its end."""
MAX_ENDED = 100_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EndedList:
    """Ids of ended sessions, as the claim `sid` has them, the last ended first, and when they were
    read."""

    session_ids: Sequence[str]
    as_of: datetime


Fetch = Callable[[datetime | None], Awaitable[EndedList]]
"""Returns the sessions that ended since the `as_of` of an earlier list, or all that matter. Raises
MeshError if the account service cannot be reached. It must have a timeout of its own."""


class EndedSessions:
    """Use it in one event loop only."""

    def __init__(
        self,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        *,
        fetch_seconds: float = FETCH_SECONDS,
        max_ended: int = MAX_ENDED,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._fetch = fetch
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._max_ended = max_ended
        self._forget_at: dict[str, float] = {}
        self._as_of: datetime | None = None
        self._is_failing = False
        self._is_there = asyncio.Event()

    def __len__(self) -> int:
        return len(self._forget_at)

    def contain(self, session_id: str) -> bool:
        """Whether the session has ended. Raises NoKeysYet until the first fetch succeeds."""
        if self._as_of is None:
            raise NoKeysYet(
                "The ended sessions could not be fetched yet; try again in a moment.",
                retry_after_seconds=self._fetch_seconds,
            )
        return session_id in self._forget_at

    async def first(self) -> None:
        """Waits for the first list. Needs `keep_fetching` to run."""
        await self._is_there.wait()

    async def keep_fetching(self, due: Due | None = None) -> None:
        """Fetches every second, or whenever it is `due`, until cancelled. What fails is tried again
        a second later."""
        while True:
            await self.fetch_once()
            is_signalled = due is not None and not self._is_failing
            await (due.wait() if due and is_signalled else pause(self._fetch_seconds))

    async def fetch_once(self) -> None:
        """Fetches what is new. A failure is logged."""
        try:
            ended = await self._fetch(self._as_of)
        except MeshError as error:
            self._note(error)
        except Exception as error:  # without the log entry the list would age unnoticed
            log.error("refuse_ended_sessions", exc_info=error)
            self._note(DataLoss("The list of ended sessions cannot be read."))
        else:
            self._is_failing = False
            self._learn(ended)

    def _learn(self, ended: EndedList) -> None:
        now = self._clock()
        for session_id in reversed(ended.session_ids):
            self._forget_at.setdefault(session_id, now + KEPT_SECONDS)
        self._as_of = ended.as_of
        self._is_there.set()
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Forgets the expired ids, and then those that exceed the bound."""
        # The ids are in the order in which their sessions ended, so they also expire in it.
        expired = takewhile(lambda session_id: self._forget_at[session_id] <= now, self._forget_at)
        self._remove(list(expired))
        dropped_count = len(self._forget_at) - self._max_ended
        if dropped_count > 0:
            log.warning("drop_ended_sessions", dropped_count=dropped_count)
            self._remove(list(islice(self._forget_at, dropped_count)))

    def _remove(self, session_ids: list[str]) -> None:
        for session_id in session_ids:
            del self._forget_at[session_id]

    def _note(self, failure: MeshError) -> None:
        if not self._is_failing:
            # While the mesh starts, such a failure is normal.
            write = log.info if self._as_of is None else log.warning
            write("fail_ended_sessions", error=failure.message, kept_count=len(self))
        self._is_failing = True
