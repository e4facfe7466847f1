"""Hashes passwords in a separate process, so that a storm of logins slows nothing else.

The queue is bounded in length and in waiting time. A call that would wait longer than that, or
past its deadline, is refused at once. A call that is cancelled before its turn computes no hash.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from account_svc.adapters.hashing import hasher
from account_svc.adapters.hashing_process import HashingProcess
from account_svc.domain.accounts import Verdict
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, Overloaded
from mesh.serving.bulkheads import hint_seconds

MAX_WAITING = 64
MAX_WAIT_SECONDS = 1.0
FIRST_GUESS_SECONDS = 0.05
"""The assumed duration of a hash before the first one."""
SMOOTHING = 0.2
"""The weight of the newest observation."""


class Passwords:
    """Hashes and verifies, one password at a time."""

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
        self._waiting_count = 0
        self._began_at: float | None = None
        self._dummy_hash = hasher().hash(uuid4().hex)

    def check_room(self, deadline: Deadline, ahead_count: int) -> None:
        """Raises Overloaded when one more password would wait too long for any caller, and
        DeadlineExceeded when only this caller has too little time. `ahead_count` is the number
        of earlier calls that may need a hash, also of those that do not wait for it yet."""
        seconds_each = self._seconds_each_now()
        wait_seconds = ahead_count * seconds_each
        if wait_seconds > MAX_WAIT_SECONDS:
            raise self._overloaded(ahead_count)
        if wait_seconds + seconds_each > deadline.remaining_seconds():
            raise DeadlineExceeded("A password takes longer than this call may last.")

    async def hash(self, password: str) -> str:
        """The hash to store. Raises Overloaded."""
        answer = await self._ask([password])
        assert isinstance(answer, str), "a hash is a text"
        return answer

    async def verify(self, password_hash: str | None, password: str) -> Verdict:
        """Whether the password is the one that was hashed. Raises Overloaded.

        Without a hash it does the same work, and the password is wrong, so that the time does
        not reveal whether a user exists.
        """
        answer = await self._ask([password, password_hash or self._dummy_hash])
        if not answer or password_hash is None:
            return Verdict(is_right=False)
        return Verdict(is_right=True, renewed_hash=answer if isinstance(answer, str) else None)

    def close(self) -> None:
        """Returns when the running hash has finished."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._process.end()

    async def _ask(self, request: list[str]) -> str | bool:
        if self._waiting_count >= MAX_WAITING:
            raise self._overloaded(MAX_WAITING)
        self._waiting_count += 1
        try:
            # If its caller has left before its turn, the work is cancelled and never starts.
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._answer, request
            )
        finally:
            self._waiting_count -= 1

    def _answer(self, request: list[str]) -> str | bool:
        self._began_at = self._clock()
        try:
            answer = self._process.ask(request)
            self._seconds_each += SMOOTHING * (self._running_seconds() - self._seconds_each)
            return answer
        finally:
            self._began_at = None

    def _seconds_each_now(self) -> float:
        """The average; or the time of the running hash so far, if that is longer."""
        return max(self._seconds_each, self._running_seconds())

    def _running_seconds(self) -> float:
        began_at = self._began_at
        return 0.0 if began_at is None else self._clock() - began_at

    def _overloaded(self, waiting_count: int) -> Overloaded:
        return Overloaded(
            "Too many people are logging in; try again in a moment.",
            retry_after_seconds=hint_seconds(waiting_count / 2 * self._seconds_each_now()),
        )
