"""Hashes passwords in a separate process, so that a storm of logins slows nothing else.

`admit` decides who may work on a password, by `account_svc.domain.hashing_queue`. A call that is
cancelled before its turn computes no hash.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from uuid import uuid4

from account_svc.adapters.hashing import hasher
from account_svc.adapters.hashing_process import HashingProcess
from account_svc.domain.accounts import Verdict
from account_svc.domain.hashing_queue import HashingBusy, HashingQueue, Urgency
from mesh.addresses import networks_of
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded
from mesh.serving.bulkheads import hint_seconds

TURNS_AT_ONCE = 4
"""One hashes; the others store an attempt meanwhile, so that the process is never idle."""
AHEAD_SECONDS = 0.2
"""The hashes of those with a turn take no longer than that together, or there is one turn. They
are made in order of arrival, whatever their class."""
FIRST_GUESS_SECONDS = 0.05
"""The assumed duration of a hash before the first one."""
SMOOTHING = 0.2
"""The weight of the newest observation."""
LONGEST_OBSERVED_SECONDS = 2.0
"""What a longer hash counts as. The average stays below the time of a login's call, so that hashes
are still made that bring it down again after a process stood still."""


class Passwords:
    """Hashes and verifies, one password at a time. Use it in one event loop only."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        process: HashingProcess | None = None,
    ) -> None:
        self._clock = clock
        self._process = process or HashingProcess()
        # The thread only waits for the process.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._seconds_each = FIRST_GUESS_SECONDS
        self._began_at: float | None = None
        self._dummy_hash = hasher().hash(uuid4().hex)
        self._turn_count = 0
        self._queue: HashingQueue[asyncio.Future[None]] = HashingQueue()

    def check_time(self, deadline: Deadline, ahead_count: int) -> None:
        """Raises DeadlineExceeded when the caller has too little time for one hash. A
        `mesh.serving.dispatch.Gate`; those who are ahead are of no interest to it."""
        if self._seconds_each_now() > deadline.remaining_seconds():
            raise DeadlineExceeded("A password takes longer than this call may last.")

    @asynccontextmanager
    async def admit(self, urgency: Urgency, address: str) -> AsyncIterator[None]:
        """Waits for a turn, and holds it within the context. `address` is the client's. Raises
        HashingBusy. Contexts must not be nested."""
        await self._begin_turn(urgency, _site_of(address))
        try:
            yield
        finally:
            self._end_turn()

    async def hash(self, password: str) -> str:
        """The hash to store. Call it within `admit`."""
        answer = await self._ask([password])
        assert isinstance(answer, str), "a hash is a text"
        return answer

    async def verify(self, password_hash: str | None, password: str) -> Verdict:
        """Whether the password is the one that was hashed. Call it within `admit`.

        Without a hash it does the same work, and the password is wrong, so that the time does
        not reveal whether a user exists.
        """
        answer = await self._ask([password, password_hash or self._dummy_hash])
        if not answer or password_hash is None:
            return Verdict(is_right=False)
        return Verdict(is_right=True, renewed_hash=answer if isinstance(answer, str) else None)

    def close(self) -> None:
        """Ends the hashing process at once, so a running hash fails. It may be called in an event
        loop: it waits for no hash."""
        self._process.close()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._process.end()

    async def _begin_turn(self, urgency: Urgency, site: str) -> None:
        self._give_turns()
        if self._turn_count < self._turns_at_once():
            self._turn_count += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push(urgency, site, turn)
        self._refuse_the_rest(site)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._queue.remove(urgency, site, turn)
            elif turn.exception() is None:
                # The turn was given in the moment of the cancellation.
                self._end_turn()
            raise

    def _refuse_the_rest(self, newest_site: str = "") -> None:
        """Refuses those who would wait for too long by now."""
        for urgency, refused in self._queue.shorten(
            self._seconds_each_now(), self._turn_count, newest_site
        ):
            # A waiter whose caller has left is cancelled before its task removes it.
            if not refused.done():
                refused.set_exception(self._busy(urgency))

    def _end_turn(self) -> None:
        """Gives the turn to the next one, unless too many have one."""
        self._turn_count -= 1
        self._refuse_the_rest()
        self._give_turns()

    def _give_turns(self) -> None:
        """Gives the free turns to those who wait."""
        while self._turn_count < self._turns_at_once():
            turn = self._queue.pop()
            if turn is None:
                return
            if not turn.done():
                self._turn_count += 1
                turn.set_result(None)

    def _turns_at_once(self) -> int:
        return max(1, min(TURNS_AT_ONCE, int(AHEAD_SECONDS / self._seconds_each_now())))

    async def _ask(self, request: list[str]) -> str | bool:
        # If its caller has left before its turn, the work is cancelled and never starts.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, request)

    def _answer(self, request: list[str]) -> str | bool:
        self._began_at = self._clock()
        try:
            answer = self._process.ask(request)
            observed_seconds = min(self._running_seconds(), LONGEST_OBSERVED_SECONDS)
            self._seconds_each += SMOOTHING * (observed_seconds - self._seconds_each)
            return answer
        finally:
            self._began_at = None

    def _seconds_each_now(self) -> float:
        """The average; or the time of the running hash so far, if that is longer."""
        return max(self._seconds_each, self._running_seconds())

    def _running_seconds(self) -> float:
        began_at = self._began_at
        return 0.0 if began_at is None else self._clock() - began_at

    def _busy(self, urgency: Urgency) -> HashingBusy:
        hash_count = self._turn_count + self._queue.count(urgency) / urgency.share
        return HashingBusy(hint_seconds(hash_count * self._seconds_each_now() / 2))


def _site_of(address: str) -> str:
    return networks_of(address)[-1]
