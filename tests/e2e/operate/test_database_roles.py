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
    """The database of each instance of a service, and the URL in its environment."""
    for role, database in DATABASES.items():
        for process in mesh.processes(role):
            environment = psutil.Process(process["pid"]).environ()
            yield database, environment["DATABASE_URL"]


@pytest.mark.parametrize("statement", ["TRUNCATE {} CASCADE", "DELETE FROM {}"])
def test_no_instance_may_remove_what_happened(mesh: Mesh, statement: str) -> None:
    urls = list(used_urls(mesh))
    assert len(urls) == 4
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
