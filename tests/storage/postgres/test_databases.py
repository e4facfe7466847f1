"""The runner makes a database with its roles, and hands over what the superuser has made."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from deploy.local.servers.databases import OWNER, SERVICE, make_database, role_name, role_names
from deploy.local.servers.postgres import Cluster
from mesh.postgres.database import Database
from mesh.postgres.schema.files import Schema
from mesh.postgres.schema.grants import apply_grants, read_grants
from mesh.postgres.schema.migrations import migrate
from mesh.postgres.schema.requirements import migrator_faults, read_facts, role_faults
from proof.postgres_server import start_postgres

PASSWORDS = {role: f"password-of-{role}" for role in role_names("gacha")}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A server with a database that is the superuser's, before it is handed over."""
    server = start_postgres(tmp_path / "server", "gacha")
    with closing(psycopg2.connect(server.cluster.superuser_url_of("postgres"))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("DROP DATABASE gacha")
        cursor.execute("CREATE DATABASE gacha")
    yield replace(server.cluster, role_passwords=PASSWORDS)
    server.stop()


async def test_what_the_superuser_migrated_is_the_owners_from_the_next_start_on(
    cluster: Cluster, repository: Path
) -> None:
    schema = Schema.in_folder(repository / "gacha_svc")
    grants = read_grants(schema.grants)
    superuser = Database(cluster.superuser_url)
    await migrate(superuser, schema.migrations)
    make_database(cluster)
    make_database(cluster)
    superuser.close()
    owner, service = (
        Database(cluster.role_url(role_name("gacha", kind))) for kind in (OWNER, SERVICE)
    )
    assert migrator_faults(await owner.autocommit(read_facts)) == []
    applied = await migrate(
        owner, schema.migrations, afterwards=lambda cursor: apply_grants(cursor, grants)
    )
    assert applied == []
    await owner.autocommit(lambda cursor: cursor.execute("ALTER TABLE pull ADD COLUMN note text"))
    assert role_faults(await service.autocommit(read_facts)) == []
    await service.autocommit(lambda cursor: cursor.execute("SELECT note FROM pull"))
    owner.close()
    service.close()


def test_a_password_that_was_replaced_is_the_roles_from_the_next_start_on(cluster: Cluster) -> None:
    make_database(cluster)
    role = role_name("gacha", SERVICE)
    changed = replace(cluster, role_passwords={**PASSWORDS, role: "another"})
    make_database(changed)
    psycopg2.connect(changed.role_url(role)).close()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(cluster.role_url(role))
