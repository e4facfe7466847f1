"""Real PostgreSQL servers for tests, with the settings of `make up`.

Each has its own folder and a free port. It ends when the thread that started it ends.
"""

import itertools
import random
import secrets
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg2
from psycopg2 import sql

from deploy.local.errors import LocalRunError
from deploy.local.servers import databases, postgres
from deploy.local.servers.ports import free_ports
from deploy.local.topology import DATABASES

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 20.0
START_ATTEMPTS = 5


@dataclass(slots=True)
class PostgresServer:
    """A running server, made by `start_postgres`. `pid` is its postmaster's."""

    cluster: postgres.Cluster
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """The postgresql:// URL of its first database, as the superuser."""
        return self.cluster.superuser_url

    @property
    def pid(self) -> int:
        return self.process.pid

    def create_database(self, name: str) -> str:
        """Makes an empty database, and returns its URL as the superuser."""
        self._administer("CREATE DATABASE {} TEMPLATE template0", name)
        return self.cluster.superuser_url_of(name)

    def create_service_database(self, name: str, kind: str) -> tuple[str, str]:
        """Makes an empty database of a kind of DATABASES. Returns its URLs as the owner and as
        the service."""
        self._administer("CREATE DATABASE {} TEMPLATE template0", name)
        databases.give_to_roles(self.cluster, name, databases.role_names(kind))
        return self.role_url(name, kind, databases.OWNER), self.role_url(
            name, kind, databases.SERVICE
        )

    def role_url(self, name: str, kind: str, role_kind: str) -> str:
        """The URL of a database of `create_service_database`, as one of its roles."""
        return self.cluster.role_url_of(databases.role_name(kind, role_kind), name)

    def drop_database(self, name: str) -> None:
        """Rolls back its prepared transactions, ends its connections, and drops it."""
        connection = psycopg2.connect(self.cluster.superuser_url_of(name))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
                )
                for (gid,) in cursor.fetchall():
                    cursor.execute("ROLLBACK PREPARED %s", (gid,))
        finally:
            connection.close()
        self._administer("DROP DATABASE {} WITH (FORCE)", name)

    def _administer(self, statement: str, name: str) -> None:
        connection = psycopg2.connect(self.cluster.superuser_url_of("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))
        finally:
            connection.close()

    def restart(self) -> None:
        """Starts it again after `stop` or `kill`, with the same data and port."""
        postgres.prepare(self.cluster)
        self.process = _launch(self.cluster, self.log)
        databases.accept_connections(self.cluster, timeout_seconds=START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Disconnects clients and shuts down in order. Idempotent."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Sends SIGKILL to the postmaster; its other processes end by themselves."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(STOP_TIMEOUT_SECONDS)


def start_postgres(
    folder: Path,
    database: str,
    *,
    is_durable: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> PostgresServer:
    """A new server with an empty `database`, its data in `folder`; takes about a second.

    It has the settings of the real one; `settings` override them. Without `is_durable` there is
    no fsync.
    Call it from the main thread: the server ends with the thread that started it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server_user = postgres.choose_server_user(folder)
    ports = free_ports(random.Random())
    for attempt in itertools.count(1):
        cluster = postgres.Cluster(
            data=folder / "data",
            database=database,
            port=next(ports),
            password=secrets.token_hex(16),
            user=server_user,
            role_passwords={
                role: secrets.token_hex(16)
                for kind in DATABASES.values()
                for role in databases.role_names(kind)
            },
            settings=settings,
            is_durable=is_durable,
        )
        postgres.prepare(cluster)
        server = PostgresServer(cluster, folder / "log", _launch(cluster, folder / "log"))
        try:
            databases.accept_connections(cluster, timeout_seconds=START_TIMEOUT_SECONDS)
            return server
        except LocalRunError:
            # Another process may have taken the port between the check and the start.
            server.kill()
            if attempt == START_ATTEMPTS:
                raise
    raise AssertionError("the loop above returns or raises")


def _launch(cluster: postgres.Cluster, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            cluster.command(),
            cwd="/",
            env=postgres.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
