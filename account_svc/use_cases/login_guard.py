"""Admits an attempt to log in, or refuses it with the time to wait.

Guarantees, over all instances and across their restarts (`account_svc.domain.login_attempts`
has the figures): an attempt is counted before its password is checked, so concurrent attempts
cannot avoid the wait. A refusal does not reveal whether the account exists; it writes nothing,
and costs one read. A crash of the database may lose the attempts of its last moment.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import Verdict
from account_svc.domain.login_attempts import (
    CLEAR,
    KNOWN_SECONDS,
    Key,
    Kind,
    LoginBackoff,
    Schedules,
    Standing,
    account_key,
    address_key,
    after_attempt,
    pair_key,
    taken_back,
)
from account_svc.storage import login_attempts as storage
from account_svc.storage.login_attempts import Row
from mesh.errors import Overloaded
from mesh.postgres.database import Database

SECONDS_BETWEEN_CLEANUPS = 60.0
ROWS_A_STATEMENT = 1_000
STATEMENTS_A_CLEANUP = 20


@dataclass(frozen=True, slots=True)
class Reservation:
    """An attempt that may check the password. `before` has the earlier standing of every
    subject that it counts for; `pair` is the account at this address, if that is known."""

    before: Mapping[Key, Standing]
    pair: Key | None


class LoginGuard:
    """Guards every check of a password; the subjects are in one database."""

    def __init__(
        self,
        database: Database,
        schedules: Schedules | None = None,
        *,
        clock: Callable[[], float] = time.time,
        count_refusal: Callable[[Kind], None] = lambda kind: None,
    ) -> None:
        """`clock` gives seconds since 1970, nearly the same in all instances."""
        self._database = database
        self._schedules = schedules or Schedules()
        self._clock = clock
        self._count_refusal = count_refusal
        self._clean_at = 0.0
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    @property
    def turn_count(self) -> int:
        """How many accounts or pairs have a running or waiting attempt in this process."""
        return len(self._turns)

    async def attempt(
        self, username: str, address: str, verify: Callable[[], Awaitable[Verdict]]
    ) -> Verdict:
        """Whether the password is right. `verify` is called at most once.

        Attempts on one account from one address run one after another, so that concurrent right
        ones do not count against one another. Raises LoginBackoff, and the errors of `verify`.
        An attempt does not count when `verify` raises Overloaded, because no password was
        checked, nor when the call is cancelled, because its caller learns nothing.
        """
        async with self._turn(username, address):
            reservation = await self.reserve(username, address)
            try:
                verdict = await verify()
            except (Overloaded, asyncio.CancelledError):
                await self.given_back(reservation)
                raise
            if verdict.is_right:
                await self.succeeded(reservation)
            return verdict

    async def reserve(self, username: str, address: str) -> Reservation:
        """Counts an attempt on that account from that address as a failed one, until
        `succeeded` or `given_back` is called. Raises LoginBackoff, and then counts nothing.
        """
        account, origin = account_key(username), address_key(address)
        pair = None if origin is None else pair_key(account, origin)
        keys = [key for key in (account, origin, pair) if key is not None]
        stored = await self._database.autocommit(lambda cursor: storage.find(cursor, keys))
        is_known = pair is not None and stored.get(pair, Row()).known_until > self._clock()
        asked = pair if pair is not None and is_known else account
        # A known pair skips the limit of its address, but counts towards it.
        waiting = [asked] if is_known or origin is None else [asked, origin]
        counted = [asked] if origin is None else [asked, origin]
        # Most attempts of an attack are refused here, without a lock and without a write.
        self._check(waiting, stored)

        def count(cursor: Cursor) -> Mapping[Key, Standing]:
            rows = storage.lock(cursor, counted)
            self._check(waiting, rows)
            now = self._clock()
            storage.save(
                cursor,
                {
                    key: replace(row, standing=after_attempt(row.standing, now))
                    for key, row in rows.items()
                },
            )
            return {key: row.standing for key, row in rows.items()}

        return Reservation(await self._database.transaction(count), pair)

    async def succeeded(self, reservation: Reservation) -> None:
        """Records a right password: clears the failures of the account at this address, and
        stores both as a known pair."""
        await self._settle(reservation, is_success=True)

    async def given_back(self, reservation: Reservation) -> None:
        """Takes the attempt back, because its caller learned nothing about the password."""
        await self._settle(reservation, is_success=False)

    async def run_once(self) -> None:
        """Deletes old rows, once in SECONDS_BETWEEN_CLEANUPS. Call it about every second."""
        now = self._clock()
        if now < self._clean_at:
            return
        self._clean_at = now + SECONDS_BETWEEN_CLEANUPS
        for _ in range(STATEMENTS_A_CLEANUP):
            removed_count = await self._database.autocommit(
                lambda cursor: storage.delete_old(cursor, now, ROWS_A_STATEMENT)
            )
            if removed_count < ROWS_A_STATEMENT:
                return

    def _turn(self, username: str, address: str) -> asyncio.Lock:
        """The lock of an account at an address; it exists while a task holds or awaits it."""
        account, origin = account_key(username), address_key(address)
        key = account if origin is None else pair_key(account, origin)
        return self._turns.setdefault(key, asyncio.Lock())

    def _check(self, waiting: Iterable[Key], rows: Mapping[Key, Row]) -> None:
        """Raises LoginBackoff for the subject with the longest wait."""
        now = self._clock()
        waits = [
            (self._schedules.of(key.kind).wait_seconds(rows.get(key, Row()).standing, now), key)
            for key in waiting
        ]
        wait_seconds, key = max(waits)
        if wait_seconds > 0:
            self._count_refusal(key.kind)
            raise LoginBackoff(wait_seconds)

    async def _settle(self, reservation: Reservation, *, is_success: bool) -> None:
        known_until = self._clock() + KNOWN_SECONDS if is_success else 0.0
        keys = set(reservation.before)
        if is_success and reservation.pair is not None:
            keys.add(reservation.pair)

        def settle(cursor: Cursor) -> None:
            settled = {}
            for key, row in storage.lock(cursor, keys).items():
                before = reservation.before.get(key)
                if is_success and key.kind is not Kind.ADDRESS and before is not None:
                    row = replace(row, standing=CLEAR)
                elif before is not None:
                    row = replace(row, standing=taken_back(row.standing, before))
                if key.kind is Kind.PAIR:
                    row = replace(row, known_until=max(row.known_until, known_until))
                settled[key] = row
            storage.save(cursor, settled)

        await self._database.transaction(settle)
