"""Argon2id (RFC 9106) in a pool of its own, so that a storm of logins slows nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from mesh.errors import ResourceExhausted

MEMORY_KIB = 19_456
ROUNDS = 2
MAX_WAITING = 64

T = TypeVar("T")


class Passwords:
    """Hashes and verifies; at most MAX_WAITING wait, and the rest is refused at once."""

    def __init__(self, *, thread_count: int = 1) -> None:
        self._hasher = PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(thread_count, thread_name_prefix="password")
        self._waiting = 0
        self._nobodys_hash = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The hash to store. Raises ResourceExhausted with LOGIN_BUSY."""
        return await self._in_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed.

        Without a hash it does the same work and says no, so that an unknown user is
        not told by the time. Raises ResourceExhausted with LOGIN_BUSY.
        """
        matches = await self._in_thread(
            self._matches, password_hash or self._nobodys_hash, password
        )
        return matches and password_hash is not None

    def close(self) -> None:
        """Ends when the running work has."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= MAX_WAITING:
            raise ResourceExhausted(
                "Too many people are logging in; try again in a moment.",
                reason="LOGIN_BUSY",
                retry_after_seconds=2.0,
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1
