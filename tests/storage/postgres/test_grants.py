"""What the roles of the services' databases may do, on real servers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

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


def database_columns(cursor: Cursor) -> list[tuple[str, str]]:
    """The columns, with their tables, that the database itself fills: times, transaction ids and
    numbers."""
    cursor.execute(
        """
        SELECT relname, attname
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND (
            attidentity <> '' OR pg_get_expr(adbin, adrelid) IN ('now()', 'pg_current_xact_id()'))
        ORDER BY 1, 2
        """
    )
    return cursor.fetchall()


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
        assert set(grants.of_table(table, SERVICE)) <= {"SELECT", "INSERT"}, table
        for statement in ("UPDATE {} SET txid = txid", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            assert refused(cursor, statement.format(table)), (table, statement)


def test_the_service_inserts_no_time_no_transaction_id_and_no_number_of_its_own(
    connect: Connect,
) -> None:
    cursor, columns = connect(SERVICE), database_columns(connect(OWNER))
    assert {column for _, column in columns} >= {"created_at", "txid", "number"}
    for table, column in columns:
        insert = f"INSERT INTO {table} ({column}) OVERRIDING SYSTEM VALUE VALUES (DEFAULT)"
        assert refused(cursor, insert), (table, column)


def test_a_new_column_is_inserted_only_once_it_is_named(
    connect: Connect, grants: Grants, service: str
) -> None:
    table, owner = {"account_svc": "ledger", "gacha_svc": "pull"}[service], connect(OWNER)
    owner.connection.autocommit = True
    owner.execute(f"ALTER TABLE {table} ADD COLUMN later integer")
    try:
        apply_grants(owner, grants)
        assert refused(connect(SERVICE), f"INSERT INTO {table} (later) VALUES (1)")
        assert grant_faults(read_effective(owner, grants.service), grants, SERVICE) == []
    finally:
        owner.execute(f"ALTER TABLE {table} DROP COLUMN later")


@pytest.mark.parametrize("service", ["gacha_svc"], indirect=True)
def test_the_history_of_banners_is_written_by_what_is_in_force_alone(connect: Connect) -> None:
    forged = "INSERT INTO banner_history (banner_id, revision, since) VALUES ('b', 1, 'epoch')"
    cursor = connect(SERVICE)
    assert refused(cursor, forged)
    cursor.execute("INSERT INTO odds (odds_version, definition) VALUES ('o', '{}')")
    cursor.execute(
        "INSERT INTO banner (banner_id, odds_version, offer, position) VALUES ('b', 'o', '{}', 1)"
    )
    cursor.execute("SELECT record_banners(7)")
    cursor.execute("SELECT banner_id, odds_version, since >= now() FROM banner_history")
    assert cursor.fetchall() == [("b", "o", True)]


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


@pytest.mark.parametrize("service", ["gacha_svc"], indirect=True)
@pytest.mark.parametrize("way", ["pg_advisory_lock", "pg_try_advisory_xact_lock_shared"])
def test_the_reader_cannot_hold_up_a_player(connect: Connect, way: str) -> None:
    lock = f"SELECT {way}(uuid_hash_extended('{uuid4()}', 51))"
    assert refused(connect(READER), lock)
    assert not refused(connect(SERVICE), lock)


@pytest.mark.parametrize(
    ("service", "secret"),
    [
        ("account_svc", "password_hash FROM player"),
        ("account_svc", "* FROM player"),
        ("account_svc", "secret_hash FROM player_session"),
        ("account_svc", "salt FROM player_session"),
        ("account_svc", "rotation_key_hashes FROM player_session"),
        ("gacha_svc", "seed FROM pity"),
        ("gacha_svc", "* FROM pity"),
    ],
    indirect=["service"],
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
        cursor.execute(
            f"GRANT TEMPORARY ON DATABASE {connection.info.dbname} TO PUBLIC, {grants.service}"
        )
        faults = grant_faults(read_effective(cursor, grants.service), grants, SERVICE)
        inserted = grants.of_table(table, SERVICE)["INSERT"]
        assert faults == [
            f"lacks INSERT ({', '.join(sorted(inserted))}) on {table}",
            f"has UPDATE on {table}, which it must not have",
            f"has DELETE on {table}, which it must not have",
            f"has TRUNCATE on {table}, which it must not have",
            "has TEMPORARY on the database, which it must not have",
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
    "text",
    [
        "TRUNCATE",
        "SELECT, SELECT",
        "SELECT, INSERT",
        "DELETE (a)",
        "SELECT,INSERT",
        "UPDATE ()",
        "select",
    ],
)
def test_what_is_no_privilege_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a privilege"):
        parse_privileges(text)
