"""A service refuses to start on a database that is not as it needs it, and says all at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.secrets import credentials
from deploy.local.servers.databases import OWNER, READER, SERVICE
from proof.postgres_server import PostgresServer, start_postgres

TIMEOUT_SECONDS = 60
UNFIT = {
    "max_prepared_transactions": "0",
    "max_connections": "14",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("keys"))
    layout.make_folders()
    credentials.load_or_make(layout)
    return layout


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = start_postgres(tmp_path_factory.mktemp("durable"), "mesh", is_durable=True)
    server.create_service_database("gacha", "gacha")
    yield server
    server.stop()


@pytest.fixture
def unfit(tmp_path: Path) -> Iterator[PostgresServer]:
    server = start_postgres(tmp_path, "mesh", is_durable=True, settings=UNFIT)
    yield server
    server.stop()


def run(layout: Layout, url: str, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m gacha_svc COMMAND`, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gacha_svc", command],
        cwd=REPOSITORY,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": url,
            "MESH_INSTANCE_ID": "gacha_svc-1",
            "MESH_LISTEN": "127.0.0.1:1",
            "MESH_REGISTRIES": "127.0.0.1:1",
            "MESH_SERVICE_KEY_FILE": str(layout.service_key("gacha_svc")),
            "MESH_SERVICE_KEYS_DIR": str(layout.public_keys),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


def faults_of(ended: "subprocess.CompletedProcess[str]") -> list[str]:
    assert ended.returncode == 1, ended.stdout
    first, *faults = ended.stderr.strip().split("\n  - ")
    assert first == "The database of DATABASE_URL is not as this service needs it:"
    return faults


@pytest.mark.parametrize(("role", "command"), [(OWNER, "migrate"), (SERVICE, "serve")])
def test_every_fault_of_a_server_is_in_one_list(
    layout: Layout, unfit: PostgresServer, role: str, command: str
) -> None:
    unfit.create_service_database("gacha", "gacha")
    faults = faults_of(run(layout, unfit.role_url("gacha", "gacha", role), command))
    for setting in UNFIT:
        assert any(setting in fault for fault in faults), (setting, faults)
    is_behind = any("run this service's 'migrate' command first" in fault for fault in faults)
    assert is_behind is (command == "serve")


@pytest.mark.parametrize(
    ("encoding", "fault"),
    [
        ("LATIN1", "The database's encoding is LATIN1, "),
        ("UTF8", "The database's locale knows no letters beyond ASCII, "),
    ],
)
def test_a_database_must_hold_every_name_and_find_it_in_any_case(
    layout: Layout, durable: PostgresServer, encoding: str, fault: str
) -> None:
    name = f"with_{encoding.lower()}"
    with closing(psycopg2.connect(durable.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
            " TEMPLATE template0 OWNER gacha_owner"
        )
    (said,) = faults_of(run(layout, durable.role_url(name, "gacha", OWNER), "migrate"))
    assert said.startswith(fault)


def test_migrate_wants_the_owner_and_serve_wants_the_service(
    layout: Layout, durable: PostgresServer
) -> None:
    owner, service, reader = (
        durable.role_url("gacha", "gacha", kind) for kind in (OWNER, SERVICE, READER)
    )
    superuser = durable.cluster.superuser_url_of("gacha")
    for url in (service, reader, superuser):
        (fault,) = faults_of(run(layout, url, "migrate"))
        assert fault.startswith("The database's owner migrates it")
    migrated = run(layout, owner, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert faults_of(run(layout, superuser, "serve"))[0].startswith("The role mesh is a superuser")
    assert faults_of(run(layout, owner, "serve"))[0].startswith(
        "The role gacha_owner owns the database"
    )
    (fault,) = faults_of(run(layout, reader, "serve"))
    assert fault.startswith("The role gacha_reader lacks UPDATE (revision) on catalog_revision, ")


def test_a_grant_that_is_missing_or_too_much_is_named(
    layout: Layout, durable: PostgresServer
) -> None:
    owner = durable.role_url("gacha", "gacha", OWNER)
    assert run(layout, owner, "migrate").returncode == 0
    with closing(psycopg2.connect(owner)) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            "REVOKE EXECUTE ON FUNCTION record_drawn FROM gacha_service;"
            "GRANT UPDATE ON pull TO gacha_service"
        )
    service = durable.role_url("gacha", "gacha", SERVICE)
    (fault,) = faults_of(run(layout, service, "serve"))
    assert fault.startswith(
        "The role gacha_service lacks EXECUTE on record_drawn, "
        "has UPDATE on pull, which it must not have: "
    )
    assert run(layout, owner, "migrate").returncode == 0
    with closing(psycopg2.connect(owner)) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            "REVOKE SELECT ON pull FROM gacha_reader; GRANT DELETE ON pull TO gacha_reader"
        )
    assert faults_of(run(layout, service, "serve")) == [
        "The role gacha_reader lacks SELECT on pull, has DELETE on pull, which it must not have: "
        "run this service's 'migrate' command as the database's owner, which grants and revokes."
    ]


@pytest.mark.parametrize("command", ["migrate", "serve"])
@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql://me:secret@127.0.0.1:1/gacha", "1: Connection refused. It"),
        ("postgresql://me:secret@127.0.0.1:1,127.0.0.1:2/gacha", "1:2: Connection refused. It"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_by_its_setting(
    layout: Layout, url: str, cause: str, command: str
) -> None:
    ended = run(layout, url, command)
    assert ended.returncode == 1
    assert ended.stderr.startswith("The database of DATABASE_URL cannot be used: 127.0.0.1:1: ")
    assert cause in ended.stderr
    assert "It was tried as role me to database gacha: start the server there, or" in ended.stderr
    assert "secret" not in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


def test_a_wrong_password_is_named_by_the_setting(layout: Layout, durable: PostgresServer) -> None:
    url = durable.role_url("gacha", "gacha", SERVICE).replace("service:", "service:x")
    ended = run(layout, url, "serve")
    assert ended.stderr.startswith("The database of DATABASE_URL cannot be used: ")
    assert 'password authentication failed for user "gacha_service"' in ended.stderr
