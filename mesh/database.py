"""A service's PostgreSQL: a small pool of connections, each with a thread of its own.

SQL runs outside the event loop, in at most `connection_count` threads; what waits
for one of them is bounded, and what exceeds the bound is refused at once. Errors
are decided by SQLSTATE alone.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg2
import structlog
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from mesh.errors import Aborted, MeshError, ResourceExhausted, Unavailable

CONNECT_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_MS = 10_000
IDLE_TRANSACTION_TIMEOUT_MS = 30_000
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

    def __init__(self, url: str, *, connection_count: int = 8) -> None:
        """`url` is a SQLAlchemy URL, postgresql+psycopg2://..., of one host or several."""
        self._engine = create_engine(
            url,
            pool_size=connection_count,
            max_overflow=0,
            pool_reset_on_return=None,  # _give_back knows better, and without a round trip
            pool_timeout=CONNECT_TIMEOUT_SECONDS,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "target_session_attrs": "read-write",
                "keepalives_idle": 5,
                "keepalives_interval": 1,
                "keepalives_count": 3,
                "tcp_user_timeout": 5_000,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
                f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS}",
            },
        )
        event.listen(self._engine, "checkout", self._check_connection)
        self._threads = ThreadPoolExecutor(connection_count, thread_name_prefix="database")
        self._waiting = 0
        self._lost_at = 0.0

    async def transaction(self, work: Callable[[Cursor], T]) -> T:
        """Runs `work` inside one transaction, and again, up to four times, when
        PostgreSQL says that it lost a race (SQLSTATE class 40).

        Raises DatabaseAway, LockTimeout, and whatever `work` does. After DatabaseAway
        it is unknown whether the transaction took effect.
        """
        return await self._in_thread(lambda: self._transact(work))

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        """Runs `work` on a connection whose statements each stand alone.

        `work` may open a transaction itself; one that it leaves open is rolled back.
        Raises as `transaction` does, without its repeats.
        """
        return await self._in_thread(lambda: self._use(work))

    async def is_ready(self) -> bool:
        """Whether the database answers and takes writes."""
        return await self.autocommit(_is_primary)

    def close(self) -> None:
        """Ends when the running work has, and closes every connection."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise ResourceExhausted(
                "The database has as much work as it can take; repeat the call in a moment.",
                reason="DATABASE_BUSY",
                retry_after_seconds=1.0,
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

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
        try:
            connection = self._engine.raw_connection()
        except (DBAPIError, PoolTimeout, psycopg2.Error) as error:
            raise _away() from error
        driver: Connection = connection.driver_connection  # type: ignore[assignment]
        try:
            with driver.cursor() as cursor:
                return work(cursor)
        except psycopg2.Error as error:
            translated = _translated(error)
            if translated is None:
                raise
            if driver.closed:
                self._lost_at = time.monotonic()
            raise translated from error
        finally:
            _give_back(connection, driver)

    def _check_connection(
        self, driver: Connection, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """Asks a connection for a sign of life if it was idle for a while, or since before
        another one was lost; the pool replaces it when there is none."""
        now = time.monotonic()
        used_at = record.info.get("used_at", now)
        record.info["used_at"] = now
        if now - used_at < IDLE_BEFORE_CHECK_SECONDS and used_at > self._lost_at:
            return
        try:
            with driver.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            raise DisconnectionError from error


def _is_primary(cursor: Cursor) -> bool:
    cursor.execute("SELECT NOT pg_is_in_recovery()")
    row = cursor.fetchone()
    return bool(row and row[0])


def _give_back(connection: PoolProxiedConnection, driver: Connection) -> None:
    """Returns a connection clean: one with an open transaction must not be used by the next."""
    try:
        if not driver.closed and driver.info.transaction_status != TRANSACTION_STATUS_IDLE:
            with driver.cursor() as cursor:
                cursor.execute("ROLLBACK")
    except psycopg2.Error:
        connection.invalidate()
    connection.close()


def _translated(error: psycopg2.Error) -> MeshError | None:
    """What callers are told of an error that is not the statement's own fault."""
    code = error.pgcode
    if code == LOCK_NOT_AVAILABLE:
        return LockTimeout("Another transaction holds what this one needs; try again.")
    if code is None or code.startswith(_AWAY_CLASSES):
        return _away()
    return None


def _away() -> DatabaseAway:
    return DatabaseAway("The database does not answer; repeat the call with the same request id.")
