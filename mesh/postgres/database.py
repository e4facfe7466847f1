"""PostgreSQL of a service: a small connection pool for use from the event loop.

SQL work is written as blocking code and runs in a fiber (`mesh.postgres.fibers`), in at most
`connection_count` fibers at a time. The queue for a connection is bounded; work beyond the
bound is refused at once. Errors are classified by SQLSTATE only.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import psycopg2
import structlog
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted, MeshError, ResourceExhausted, Unavailable
from mesh.postgres.fibers import Fibers, WaitedTooLong, let_psycopg2_wait_in_fibers
from mesh.postgres.primary_connector import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_MS, Connector
from mesh.postgres.socket_watch import WatchedConnection

WORK_TIMEOUT_SECONDS = 1.5 * STATEMENT_TIMEOUT_MS / 1000
"""After this time a connection is dropped: the server is frozen and cannot enforce its own
statement timeout."""
IDLE_BEFORE_CHECK_SECONDS = 1.5
"""Longer than the pause between two beats, so that a beat is one statement."""
UNUSED_SECONDS = 60.0
SPARE_CONNECTIONS = 2
"""Idle connections beyond these are closed after UNUSED_SECONDS, one each time when work ends. The
server's process of a connection holds 3 MB of memory."""
MAX_WAITING = 1024
MAX_TRANSACTION_ATTEMPTS = 4

SERIALIZATION_CLASS = "40"
LOCK_NOT_AVAILABLE = "55P03"
UNIQUE_VIOLATION = "23505"
_AWAY_CLASSES = ("08", "57", "53", "25006")

T = TypeVar("T")
log = structlog.get_logger()


class DatabaseAway(Unavailable):
    """The database does not answer, is starting, or is not a primary."""

    REASON = "DATABASE_UNAVAILABLE"


class LockTimeout(Aborted):
    """A lock could not be acquired in time; nothing was changed."""

    REASON = "LOCK_TIMEOUT"


class LostRace(Aborted):
    """The database chose this transaction to fail, in a deadlock or a serialization failure
    (SQLSTATE class 40). It was rolled back."""

    REASON = "LOST_RACE"


class Turns:
    """Lets `count` callers in at a time, in the order in which they came. As asyncio.Semaphore,
    but one event loop after another may use it, and its queue may be bounded."""

    def __init__(self, count: int, *, max_waiting: int | None = None) -> None:
        self._free_count = count
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    async def acquire(self) -> None:
        """Waits for a turn and takes it. Raises ResourceExhausted when too many wait."""
        if self._free_count:
            self._free_count -= 1
            return
        if self._max_waiting is not None and len(self._waiting) >= self._max_waiting:
            raise ResourceExhausted(
                "The database is overloaded; repeat the call in a moment.",
                reason="DATABASE_BUSY",
                retry_after_seconds=1.0,
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            # Whoever has left is not counted. If the turn was already handed over when the
            # cancellation came, pass it on.
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Hands the turn to the longest waiting caller, or frees it."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self._free_count += 1

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()


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
        """`url` is a libpq URL, postgresql://..., with one or several hosts."""
        self._clock = clock
        let_psycopg2_wait_in_fibers()
        self._connector = Connector(url, connect_timeout_seconds)
        self.wanted = self._connector.wanted
        """Which role connects to which database."""
        self._work_timeout_seconds = work_timeout_seconds
        self._fibers = Fibers(clock)
        self._turns = Turns(connection_count, max_waiting=MAX_WAITING)
        self.room_to_wait = Turns(max(1, connection_count // 2))
        """Whoever waits for a lock in PostgreSQL takes one before. So half of the connections stay
        free for others."""
        # LIFO: the connection used last has the warmest caches in its server process.
        self._idle: list[tuple[WatchedConnection, float]] = []
        self._closed: list[WatchedConnection] = []
        """Their watches are closed on the loop side, when the work has ended."""
        self._lost_at = 0.0

    async def transaction(
        self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
    ) -> T:
        """Runs `work` in one transaction. Retries it, up to four attempts in all, after a
        serialization failure or deadlock (SQLSTATE class 40).

        It waits for each lock no longer than `lock_timeout_ms`; None means as long as the work
        may take. Raises DatabaseAway, LockTimeout, LostRace after the last attempt, and what `work`
        raises. After DatabaseAway it is unknown whether the transaction took effect.
        """
        begin = "BEGIN"
        if lock_timeout_ms is not None:
            begin += f"; SET LOCAL lock_timeout = {lock_timeout_ms:d}"
        return await self._run(lambda: self._transact(begin, work))

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        """Runs `work` on a connection in autocommit mode.

        `work` may begin a transaction itself; if it leaves one open, that is rolled back.
        Raises as `transaction` does, but never retries.
        """
        return await self._run(lambda: self._use(work))

    def close(self) -> None:
        """Closes every idle connection."""
        while self._idle:
            connection, _ = self._idle.pop()
            connection.close()
            self._closed.append(connection)
        self._close_watches()

    async def _run(self, work: Callable[[], T]) -> T:
        await self._turns.acquire()
        try:
            running = self._fibers.start(work, self._work_timeout_seconds, self._end_work)
        except BaseException:
            self._turns.release()
            raise
        return await running

    def _end_work(self) -> None:
        """Runs on the loop side."""
        if self._closed:
            self._close_watches()
        self._turns.release()

    def _close_watches(self) -> None:
        while self._closed:
            watch = self._closed.pop().watch
            if watch is not None:
                watch.close()

    def _transact(self, begin: str, work: Callable[[Cursor], T]) -> T:
        def whole(cursor: Cursor) -> T:
            cursor.execute(begin)
            answer = work(cursor)
            cursor.execute("COMMIT")
            return answer

        for attempts_left in reversed(range(MAX_TRANSACTION_ATTEMPTS)):
            try:
                return self._use(whole)
            except LostRace:
                if not attempts_left:
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

    def _connection(self) -> WatchedConnection:
        """A connection that answers. One that was idle for a while, or was last used before
        another connection was lost, is tested first."""
        while self._idle:
            connection, used_at = self._idle.pop()
            is_fresh = self._clock() - used_at < IDLE_BEFORE_CHECK_SECONDS
            if (is_fresh and used_at > self._lost_at) or _is_alive(connection):
                return connection
            self._closed.append(connection)
        try:
            return self._connector.connect()
        except (psycopg2.Error, WaitedTooLong) as error:
            raise _away() from error

    def _give_back(self, connection: WatchedConnection) -> None:
        """Returns a connection to the pool, after a rollback if a transaction is open."""
        try:
            if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
        except (psycopg2.Error, WaitedTooLong):
            connection.close()
        now = self._clock()
        if connection.closed:
            self._closed.append(connection)
        else:
            self._idle.append((connection, now))
        # The first of the list was used last the longest time ago.
        if len(self._idle) > SPARE_CONNECTIONS and now - self._idle[0][1] > UNUSED_SECONDS:
            unused, _ = self._idle.pop(0)
            unused.close()
            self._closed.append(unused)


def _is_alive(connection: WatchedConnection) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (psycopg2.Error, WaitedTooLong):
        connection.close()
        return False
    return True


def _translated(error: psycopg2.Error) -> MeshError | None:
    """The MeshError for an error of the server or of concurrency; None if the statement itself
    is at fault."""
    code = error.pgcode
    if code == LOCK_NOT_AVAILABLE:
        return LockTimeout("Another transaction holds what this one needs; try again.")
    if code is not None and code.startswith(SERIALIZATION_CLASS):
        return LostRace("Another transaction won the race for the same rows; try again.")
    if code is None or code.startswith(_AWAY_CLASSES):
        return _away()
    return None


def _away() -> DatabaseAway:
    return DatabaseAway(
        "The database does not answer; repeat the call with the same idempotency key."
    )
