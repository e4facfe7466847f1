"""PostgreSQL's own counters: transactions, flushes of its log, bytes of log.

Its processes report up to a second late, so compare two readings only if the load was steady at
both. A flush may serve many transactions (group commit).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from proof.bench.load.plain_commits import connect

_IO_STATISTICS_VERSION = 180_000
"""From PostgreSQL 18 on, flushes of the log are counted in pg_stat_io."""

_COUNTERS = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
       (SELECT wal_bytes FROM pg_stat_wal),
       {flushes}
"""
_FLUSHES_IN_IO = "(SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal')"
_FLUSHES_IN_WAL = "(SELECT wal_sync FROM pg_stat_wal)"


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one or more databases together. As PostgreSQL counts: PREPARE is no
    transaction, COMMIT PREPARED is one, and so is a single read."""

    transactions: int
    wal_flushes: int
    wal_bytes: int

    def __add__(self, other: Self) -> "Counters":
        return Counters(
            self.transactions + other.transactions,
            self.wal_flushes + other.wal_flushes,
            self.wal_bytes + other.wal_bytes,
        )

    def __sub__(self, other: Self) -> "Counters":
        return Counters(
            self.transactions - other.transactions,
            self.wal_flushes - other.wal_flushes,
            self.wal_bytes - other.wal_bytes,
        )


class CounterReader:
    """Reads the counters of several databases, each on its own server."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        """`urls` by the database's name. Raises psycopg2.OperationalError."""
        self._connections = {name: connect(url) for name, url in urls.items()}
        for connection in self._connections.values():
            connection.autocommit = True

    def read(self) -> Counters:
        """All of them together."""
        total = Counters(0, 0, 0)
        for connection in self._connections.values():
            has_io = connection.server_version >= _IO_STATISTICS_VERSION
            with connection.cursor() as cursor:
                cursor.execute(
                    _COUNTERS.format(flushes=_FLUSHES_IN_IO if has_io else _FLUSHES_IN_WAL)
                )
                row = cursor.fetchone()
            assert row is not None, "a SELECT without FROM has one row"
            transactions, wal_bytes, flushes = row
            total += Counters(int(transactions), int(flushes), int(wal_bytes))
        return total

    def settings(self, *names: str) -> dict[str, dict[str, str]]:
        """The value of each server setting, by database."""
        values: dict[str, dict[str, str]] = {}
        for database, connection in self._connections.items():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(names),)
                )
                values[database] = dict(cursor.fetchall())
        return values

    def close(self) -> None:
        """Idempotent."""
        for connection in self._connections.values():
            connection.close()
