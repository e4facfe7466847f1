"""What a process of a running mesh may do with its database."""

from collections.abc import Iterator
from contextlib import closing

import psutil
import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from deploy.local.topology import DATABASES
from proof.stack import Mesh

FACTS = {"account": "ledger", "gacha": "pull"}


def used_urls(mesh: Mesh) -> Iterator[tuple[str, str]]:
    """Each database, and the URL that its service uses."""
    for database in DATABASES.values():
        yield database, mesh.database_url(database)


@pytest.mark.parametrize(("service", "database"), DATABASES.items())
def test_instances_use_the_role_of_their_service(mesh: Mesh, service: str, database: str) -> None:
    ports = {
        connection.laddr.port
        for process in mesh.processes(service)
        for connection in psutil.Process(process["pid"]).net_connections("tcp")
    }
    with (
        closing(psycopg2.connect(mesh.superuser_url(database))) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT client_port, usename FROM pg_stat_activity WHERE client_port > 0")
        users = {user for port, user in cursor.fetchall() if port in ports}
    assert users == {f"{database}_service"}


@pytest.mark.parametrize("statement", ["TRUNCATE {} CASCADE", "DELETE FROM {}"])
def test_no_instance_may_remove_what_happened(mesh: Mesh, statement: str) -> None:
    urls = list(used_urls(mesh))
    assert len(urls) == 2
    for database, url in urls:
        with (
            closing(psycopg2.connect(url)) as connection,
            connection.cursor() as cursor,
            pytest.raises(InsufficientPrivilege),
        ):
            cursor.execute(statement.format(FACTS[database]))


def test_instances_and_the_reader_are_bound_by_the_rules(mesh: Mesh) -> None:
    readers = [(name, mesh.reader_url(name)) for name in FACTS]
    for database, url in [*used_urls(mesh), *readers]:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication"
                " OR pg_has_role(datdba, 'MEMBER') FROM pg_roles, pg_database"
                " WHERE rolname = current_user AND datname = current_database()"
            )
            name, may_change_rules = cursor.fetchone() or ("", True)
        assert name in (f"{database}_service", f"{database}_reader")
        assert not may_change_rules


def test_each_role_has_a_password_of_its_own(mesh: Mesh) -> None:
    files = sorted(mesh.layout.role_passwords.iterdir())
    assert [path.name for path in files] == sorted(
        f"{name}_{kind}" for name in FACTS for kind in ("owner", "reader", "service")
    )
    passwords = [path.read_text() for path in files]
    superusers = (mesh.layout.secrets / "postgres_password").read_text()
    assert len({*passwords, superusers}) == len(files) + 1
