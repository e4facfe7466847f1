"""What the roles of the services' databases may do, on real servers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers.databases import OWNER, READER, SERVICE
from mesh.postgres.schema.effective_grants import grant_faults, read_effective
from mesh.postgres.schema.grants import (
    KINDS,
    GrantError,
    Grants,
    apply_grants,
    parse_privileges,
    read_grants,
    undeclared,
)
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, migrations_of

DATABASES = {"account_svc": "account", "gacha_svc": "gacha"}
CHANGES = {
    "player": "its password",
    "saga": "its state",
    "clawback": "its state, as the provider reports it",
}
"""The tables with a transaction id whose rows change; rows of all others are facts."""

Connect = Callable[[str], Cursor]


@pytest.fixture(params=DATABASES)
def service(request: pytest.FixtureRequest) -> str:
    """Each service in turn."""
    return str(request.param)


@pytest.fixture
def grants(service: str, repository: Path) -> Grants:
    return read_grants(repository / service / "grants.toml")


@pytest.fixture
def connect(
    shared_database: MakeDatabase,
    postgres_server: PostgresServer,
    repository: Path,
    service: str,
) -> Iterator[Connect]:
    """Connects to the service's database as one of its roles; nothing that is done is kept."""
    kind = DATABASES[service]
    shared_database(f"grants_of_{kind}", migrations_of(repository, service))
    connections = []

    def as_role(role_kind: str) -> Cursor:
        url = postgres_server.role_url(f"grants_of_{kind}", kind, role_kind)
        connections.append(psycopg2.connect(url))
        return connections[-1].cursor()

    yield as_role
    for connection in connections:
        connection.close()


def refused(cursor: Cursor, statement: str) -> bool:
    """Whether the role lacks a privilege for the statement. It is rolled back in any case."""
    try:
        cursor.execute(statement)
    except InsufficientPrivilege:
        return True
    finally:
        cursor.connection.rollback()
    return False


def facts_of(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'txid' ORDER BY 1"
    )
    return [name for (name,) in cursor.fetchall() if name not in CHANGES]


def test_every_table_and_function_has_declared_grants(
    connect: Connect, grants: Grants, service: str
) -> None:
    missing = undeclared(connect(OWNER), grants)
    assert missing == [], (
        f"{service}/grants.toml does not say who may do what with {', '.join(missing)}: "
        "add a line for each, with no privilege if nobody needs it"
    )


def test_a_table_and_a_function_without_declared_grants_are_named(
    connect: Connect, grants: Grants
) -> None:
    cursor = connect(OWNER)
    cursor.execute("CREATE TABLE debt (gems bigint)")
    cursor.execute("CREATE FUNCTION forgive() RETURNS void LANGUAGE sql AS ''")
    assert undeclared(cursor, grants) == ["function forgive", "table debt"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_role_may_do_what_is_declared_and_no_more(
    connect: Connect, grants: Grants, kind: str
) -> None:
    effective = read_effective(connect(kind), grants.role(kind))
    assert grant_faults(effective, grants, kind) == []


def test_the_service_can_only_add_to_the_ledger_and_to_facts(
    connect: Connect, grants: Grants
) -> None:
    cursor = connect(SERVICE)
    facts = facts_of(connect(OWNER))
    assert {"ledger", "purchase_outcome"} <= {*facts} or {"pull", "pull_item", "odds"} <= {*facts}
    for table in facts:
        assert set(grants.of_table(table, SERVICE)) == {"SELECT", "INSERT"}, table
        for statement in ("UPDATE {} SET txid = txid", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            assert refused(cursor, statement.format(table)), (table, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SET session_replication_role = replica",
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS void LANGUAGE sql AS ''",
        "ALTER TABLE saga ADD COLUMN mine int",
        "ALTER TABLE saga DISABLE TRIGGER ALL",
        "DROP TABLE saga CASCADE",
        "TRUNCATE saga",
        "UPDATE schema_migration SET sha256 = ''",
        "CREATE ROLE mine",
        "COPY saga TO '/tmp/saga'",
    ],
)
def test_neither_the_service_nor_the_reader_can_change_a_rule(
    connect: Connect, statement: str
) -> None:
    for kind in KINDS:
        assert refused(connect(kind), statement), kind


def test_the_reader_reads_every_table_and_changes_none(connect: Connect, grants: Grants) -> None:
    cursor = connect(READER)
    for table in grants.tables:
        columns = grants.of_table(table, READER)["SELECT"] or {"*"}
        cursor.execute(f"SELECT {', '.join(sorted(columns))} FROM {table}")
        for statement in ("DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES", "TRUNCATE {}"):
            assert refused(cursor, statement.format(table)), (table, statement)


@pytest.mark.parametrize("service", ["account_svc"], indirect=True)
@pytest.mark.parametrize(
    "secret",
    [
        "password_hash FROM player",
        "* FROM player",
        "secret_hash FROM player_session",
        "salt FROM player_session",
        "rotation_key_hashes FROM player_session",
    ],
)
def test_the_reader_sees_no_secret(connect: Connect, secret: str) -> None:
    assert refused(connect(READER), f"SELECT {secret}")


def test_what_was_granted_beside_the_file_is_taken_away_again(
    connect: Connect, grants: Grants
) -> None:
    table = "ledger" if "ledger" in grants.tables else "pull"
    with closing(connect(OWNER).connection) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"GRANT UPDATE (txid), DELETE ON {table} TO {grants.service}")
        cursor.execute(f"GRANT TRUNCATE ON {table} TO PUBLIC")
        cursor.execute(f"REVOKE INSERT ON {table} FROM {grants.service}")
        faults = grant_faults(read_effective(cursor, grants.service), grants, SERVICE)
        assert faults == [
            f"lacks INSERT on {table}",
            f"has UPDATE on {table}, which it must not have",
            f"has DELETE on {table}, which it must not have",
            f"has TRUNCATE on {table}, which it must not have",
        ]
        apply_grants(cursor, grants)
        assert grant_faults(read_effective(cursor, grants.service), grants, SERVICE) == []


def test_a_role_that_is_missing_is_named_with_the_command_that_makes_it(
    connect: Connect, grants: Grants
) -> None:
    nobodys = grants.model_copy(update={"reader": "nobody_reader"})
    with pytest.raises(GrantError, match=r"CREATE ROLE nobody_reader LOGIN PASSWORD"):
        apply_grants(connect(OWNER), nobodys)


def test_the_password_of_a_role_opens_its_own_database_alone(
    connect: Connect, postgres_server: PostgresServer, service: str
) -> None:
    connect(OWNER)
    own = DATABASES[service]
    (other,) = {*DATABASES.values()} - {own}
    for kind in (SERVICE, READER):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(postgres_server.role_url(f"grants_of_{own}", other, kind))


@pytest.mark.parametrize(
    "text", ["TRUNCATE", "SELECT, SELECT", "DELETE (a)", "SELECT,INSERT", "UPDATE ()", "select"]
)
def test_what_is_no_privilege_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a privilege"):
        parse_privileges(text)
