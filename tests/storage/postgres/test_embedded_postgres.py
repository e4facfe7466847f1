"""The embedded PostgreSQL: its settings, and its recovery after kills."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from deploy.local.errors import LocalRunError
from deploy.local.servers import databases, postgres
from proof.postgres_server import PostgresServer, start_postgres


@pytest.fixture
def server(tmp_path: Path) -> PostgresServer:
    """A server for one test, which may kill it; it ends with the test process at the latest."""
    return start_postgres(tmp_path / "server", "pulls")


def ask(url: str, question: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone()
            assert row is not None
            return row[0]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_prepared_transactions", "200"),
        ("max_connections", "200"),
        ("wal_level", "replica"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("TimeZone", "UTC"),
    ],
)
def test_setting_is_what_the_mesh_needs(
    postgres_server: PostgresServer, setting: str, value: str
) -> None:
    assert ask(postgres_server.url, f"SHOW {setting}") == value


def test_locale_needs_nothing_of_the_machine(postgres_server: PostgresServer) -> None:
    question = (
        "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database "
        "WHERE datname = current_database()"
    )
    assert ask(postgres_server.url, question) == "b C.UTF-8"


def test_wrong_password_is_refused(postgres_server: PostgresServer) -> None:
    wrong = replace(postgres_server.cluster, password="wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong.superuser_url)


def test_real_meshes_wait_for_the_disk(tmp_path: Path) -> None:
    server = start_postgres(tmp_path / "durable", "pulls", is_durable=True)
    try:
        assert ask(server.url, "SHOW fsync") == "on"
        assert ask(server.url, "SHOW synchronous_commit") == "on"
    finally:
        server.stop()


def test_prepared_transactions_survive_a_kill(server: PostgresServer) -> None:
    connection = psycopg2.connect(server.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; CREATE TABLE pull (id int); PREPARE TRANSACTION 'a gid'")
    server.kill()
    connection.close()
    server.restart()
    assert ask(server.url, "SELECT gid FROM pg_prepared_xacts") == "a gid"
    server.stop()


def test_a_pid_file_of_another_process_does_not_prevent_the_start(
    server: PostgresServer,
) -> None:
    server.kill()
    lock = server.cluster.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.restart()
    server.stop()


def test_an_interrupted_first_start_is_made_anew(tmp_path: Path) -> None:
    draft = tmp_path / "server" / "data.new"
    (draft / "data").mkdir(parents=True)
    (draft / "data" / "PG_VERSION").write_text("18\n")
    server = start_postgres(tmp_path / "server", "pulls")
    assert ask(server.url, "SELECT 1") == 1
    server.stop()
    assert not draft.exists()


def test_a_server_that_does_not_answer_is_reported_with_its_port(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        cluster = postgres.Cluster(
            tmp_path / "data", "pulls", port, "password", postgres.choose_server_user(tmp_path)
        )
        with pytest.raises(LocalRunError, match=f"port {port}"):
            databases.accept_connections(cluster, timeout_seconds=0)
