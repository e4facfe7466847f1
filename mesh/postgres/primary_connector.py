"""Finds the primary among a database's hosts and connects to it from a fiber.

libpq can try several hosts itself, but in non-blocking mode it applies no timeout to each.
So the hosts are tried here one by one, starting with the one that answered last.

A session has the same settings on every server, whatever the server's, the database's or the
role's defaults are: time zone, isolation, encoding, search path and timeouts.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import psycopg2
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn
from pydantic import AfterValidator, Field

from mesh.postgres.fibers import WaitedTooLong, at_most
from mesh.postgres.socket_watch import SocketWatch, WatchedConnection

CONNECT_TIMEOUT_SECONDS = 2.0
"""For each host; skipping a frozen host takes this long."""
STATEMENT_TIMEOUT_MS = 10_000
IDLE_TRANSACTION_TIMEOUT_MS = 5_000

SESSION: Mapping[str, str] = MappingProxyType(
    {
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_MS),
        "timezone": "UTC",
        "datestyle": "ISO,MDY",
        "search_path": "public",
        "default_transaction_isolation": r"read\ committed",
    }
)
_OPTIONS: Mapping[str, object] = {
    "target_session_attrs": "read-write",
    "keepalives_idle": 5,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
    "client_encoding": "UTF8",
}


def _database_url(url: str) -> str:
    """Raises ValueError; its message never contains the password."""
    if not url.startswith("postgresql://"):
        raise ValueError(f"must be a URL that begins with postgresql://, such as {EXAMPLE_URL}")
    try:
        arguments = parse_dsn(url)
    except ProgrammingError:
        raise ValueError(
            f"is no URL that libpq can read, such as {EXAMPLE_URL}; escape special characters of "
            "the password, as %40 for @"
        ) from None
    hosts, ports = (str(arguments.get(part, "")).split(",") for part in ("host", "port"))
    if len(ports) not in (1, len(hosts)):
        raise ValueError("must have a port for each host, or one for all")
    return url


EXAMPLE_URL = "postgresql://account_service:PASSWORD@127.0.0.1:5432/account"
DatabaseUrl = Annotated[str, AfterValidator(_database_url), Field(validation_alias="DATABASE_URL")]
"""The setting that names a service's database, with one or several hosts."""


class Connector:
    """Makes connections in autocommit mode."""

    def __init__(self, url: str, timeout_seconds: float = CONNECT_TIMEOUT_SECONDS) -> None:
        """`url` is a libpq URL, postgresql://..., with one or several hosts."""
        arguments = parse_dsn(url)
        hosts = str(arguments.pop("host", "")).split(",")
        ports = str(arguments.pop("port", "5432")).split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        self._hosts = list(zip(hosts, ports, strict=True))
        # Options of the URL are added to ours, and win.
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        arguments["options"] = f"{options} {arguments.get('options', '')}".strip()
        self._arguments: dict[str, Any] = {**_OPTIONS, **arguments}
        self._timeout_seconds = timeout_seconds
        self._answered_last = 0
        user = arguments.get("user", "the system's user")
        self.wanted = f"as role {user} to database {arguments.get('dbname', user)}"
        """What is tried, without the hosts and the password."""

    def connect(self) -> WatchedConnection:
        """A connection to the first host that answers and accepts writes.

        Raises psycopg2.OperationalError if there is none; it names each host with its failure.
        """
        # Concurrent calls may change `_answered_last`: each call tries all hosts once, from
        # the host where it started.
        failures: list[str] = []
        for index in self._round():
            host, port = self._hosts[index]
            try:
                with at_most(self._timeout_seconds):
                    connection = self._connect_to(host, port)
            except psycopg2.OperationalError as error:
                failures.append(f"{host}:{port}: {_first_line(error)}")
                continue
            except WaitedTooLong:
                failures.append(f"{host}:{port}: no answer in {self._timeout_seconds:g} s")
                continue
            self._answered_last = index
            return connection
        raise psycopg2.OperationalError("; ".join(failures))

    def _connect_to(self, host: str, port: str) -> WatchedConnection:
        connection: WatchedConnection = psycopg2.connect(
            host=host, port=port, connection_factory=WatchedConnection, **self._arguments
        )
        connection.autocommit = True
        try:
            connection.watch = SocketWatch(connection.fileno())
        except OSError as error:
            connection.close()
            raise psycopg2.OperationalError(str(error)) from error
        return connection

    def _round(self) -> Iterator[int]:
        begin, count = self._answered_last, len(self._hosts)
        return ((begin + step) % count for step in range(count))


def _first_line(error: psycopg2.Error) -> str:
    """What libpq says, without its hints and without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no answer"
