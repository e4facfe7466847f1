"""A service's PostgreSQL: a small pool of connections, used from the event loop.

Work with SQL is written as if it blocked and runs in a fiber (`mesh.postgres.fibers`), at
most `connection_count` of them at a time; what waits for a connection is bounded, and
what exceeds the bound is refused at once. Errors are decided by SQLSTATE alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import psycopg2
import structlog
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted, MeshError, ResourceExhausted, Unavailable
from mesh.postgres.fibers import Fiber, WaitedTooLong, let_psycopg2_wait_in_fibers
from mesh.postgres.primary_connector import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_MS, Connector

WORK_TIMEOUT_SECONDS = 1.5 * STATEMENT_TIMEOUT_MS / 1000
"""After which a server that is frozen, and cannot keep its own time, is left."""
IDLE_BEFORE_CHECK_SECONDS = 1.0
MAX_WAITING = 1024
MAX_ATTEMPTS = 4

SERIALIZATION_CLASS = "40"
LOCK_NOT_AVAILABLE = "55P03"
UNIQUE_VIOLATION = "23505"
_AWAY_CLASSES = ("08", "57", "53", "25006")

T = TypeVar("T")
log = structlog.get_logger()


class DatabaseAway(Unavailable):
    """The database does not answer, is starting, or is no primary."""

    REASON = "DATABASE_UNAVAILABLE"


class LockTimeout(Aborted):
    """A lock was not to be had in time; nothing was changed."""

    REASON = "LOCK_TIMEOUT"


class Database:
    """Runs a service's SQL."""

    def __init__(
        self,
        url: str,
        *,
        connection_count: int = 8,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        work_timeout_seconds: float = WORK_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is libpq's, postgresql://..., of one host or several."""
        self._clock = clock
        let_psycopg2_wait_in_fibers()
        self._connector = Connector(url, connect_timeout_seconds)
        self._work_timeout_seconds = work_timeout_seconds
        self._free_count = connection_count
        self._waiting: deque[asyncio.Future[None]] = deque()
        # The one that worked last is taken first: its server process has everything at hand.
        self._idle: list[tuple[Connection, float]] = []
        self._lost_at = 0.0

    async def transaction(self, work: Callable[[Cursor], T]) -> T:
        """Runs `work` inside one transaction, and again, up to four times, when
        PostgreSQL says that it lost a race (SQLSTATE class 40).

        Raises DatabaseAway, LockTimeout, and whatever `work` does. After DatabaseAway
        it is unknown whether the transaction took effect.
        """
        return await self._run(lambda: self._transact(work))

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        """Runs `work` on a connection whose statements each stand alone.

        `work` may open a transaction itself; one that it leaves open is rolled back.
        Raises as `transaction` does, without its repeats.
        """
        return await self._run(lambda: self._use(work))

    async def is_ready(self) -> bool:
        """Whether the database answers and takes writes."""
        return await self.autocommit(_is_primary)

    def close(self) -> None:
        """Closes every connection that is not in use."""
        while self._idle:
            connection, _ = self._idle.pop()
            connection.close()

    async def _run(self, work: Callable[[], T]) -> T:
        await self._turn()
        fiber = Fiber(work, self._work_timeout_seconds, self._end_turn, self._clock)
        return await fiber.outcome

    async def _turn(self) -> None:
        """Waits until a connection is free, and takes it."""
        if self._free_count:
            self._free_count -= 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise ResourceExhausted(
                "The database has as much work as it can take; repeat the call in a moment.",
                reason="DATABASE_BUSY",
                retry_after_seconds=1.0,
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end_turn()
            raise

    def _end_turn(self) -> None:
        """Hands the connection to who waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free_count += 1

    def _transact(self, work: Callable[[Cursor], T]) -> T:
        def whole(cursor: Cursor) -> T:
            cursor.execute("BEGIN")
            answer = work(cursor)
            cursor.execute("COMMIT")
            return answer

        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            try:
                return self._use(whole)
            except psycopg2.Error as error:
                if not (error.pgcode or "").startswith(SERIALIZATION_CLASS) or not attempts_left:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _use(self, work: Callable[[Cursor], T]) -> T:
        connection = self._connection()
        try:
            with connection.cursor() as cursor:
                return work(cursor)
        except WaitedTooLong as error:
            self._lost_at = self._clock()
            raise _away() from error
        except psycopg2.Error as error:
            translated = _translated(error)
            if translated is None:
                raise
            if connection.closed:
                self._lost_at = self._clock()
            raise translated from error
        finally:
            self._give_back(connection)

    def _connection(self) -> Connection:
        """One that answers: what was idle for a while, or since before another one was lost,
        is asked for a sign of life first."""
        while self._idle:
            connection, used_at = self._idle.pop()
            is_fresh = self._clock() - used_at < IDLE_BEFORE_CHECK_SECONDS
            if (is_fresh and used_at > self._lost_at) or _is_alive(connection):
                return connection
        try:
            return self._connector.connect()
        except (psycopg2.Error, WaitedTooLong) as error:
            raise _away() from error

    def _give_back(self, connection: Connection) -> None:
        """Keeps a connection, clean: one with an open transaction must not be used by the next."""
        try:
            if connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
        except (psycopg2.Error, WaitedTooLong):
            connection.close()
        if not connection.closed:
            self._idle.append((connection, self._clock()))


def _is_alive(connection: Connection) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (psycopg2.Error, WaitedTooLong):
        connection.close()
        return False
    return True


def _is_primary(cursor: Cursor) -> bool:
    cursor.execute("SELECT NOT pg_is_in_recovery()")
    row = cursor.fetchone()
    return bool(row and row[0])


def _translated(error: psycopg2.Error) -> MeshError | None:
    """What callers are told of an error that is not the statement's own fault."""
    code = error.pgcode
    if code == LOCK_NOT_AVAILABLE:
        return LockTimeout("Another transaction holds what this one needs; try again.")
    if code is None or code.startswith(_AWAY_CLASSES):
        return _away()
    return None


def _away() -> DatabaseAway:
    return DatabaseAway(
        "The database does not answer; repeat the call with the same idempotency key."
    )
