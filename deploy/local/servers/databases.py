"""The database of a PostgreSQL server and its roles, made and kept as they must be.

Each database has three roles, with a password each. Its owner migrates it. The service role is
what the instances connect as; the reader is for ETL and support. What these two may do is in
the service's grants.toml. The superuser makes them; tests use it to harm a mesh.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from psycopg2.extensions import encrypt_password

from deploy.local.errors import LocalRunError
from deploy.local.servers.postgres import POLL_SECONDS, Cluster

OWNER, SERVICE, READER = "owner", "service", "reader"
CONNECT_TIMEOUT_SECONDS = 2

# What was made before there was an owner belongs to the superuser.
_HAND_OVER = """
DO $$
DECLARE
    object text;
BEGIN
    FOR object IN
        SELECT format('TABLE %I', relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
          AND relowner = current_user::regrole
        UNION ALL
        SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', object, '{owner}');
    END LOOP;
END $$
"""

# Whoever holds the advisory lock of a player holds up the player's pulls and gifts.
_KEEP_LOCKS = """
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_'
          AND has_function_privilege('public', oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I, %I', function, '{owner}', '{service}');
    END LOOP;
END $$
"""


def role_names(database: str) -> list[str]:
    """The roles of a database: its owner, the service's and the reader's."""
    return [role_name(database, kind) for kind in (OWNER, SERVICE, READER)]


def role_name(database: str, kind: str) -> str:
    """The name of one role, such as account_service."""
    return f"{database}_{kind}"


def accept_connections(cluster: Cluster, *, timeout_seconds: float) -> None:
    """Waits until the server answers, and makes its database with the roles.

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
    """Whether the server answers. Makes its database with the roles."""
    try:
        make_database(cluster)
    except psycopg2.OperationalError:
        return False
    return True


def make_database(cluster: Cluster) -> None:
    """Makes the roles that have a password, and the database if it is missing; its owner is the
    role of that kind, if there is one. Idempotent. Raises psycopg2.OperationalError if there is
    no answer."""
    with _connected(cluster, "postgres") as cursor:
        for role, password in cluster.role_passwords.items():
            _make_role(cursor, role, password)
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (cluster.database,))
        if cursor.rowcount == 0:
            cursor.execute(_statement("CREATE DATABASE {}", cluster.database))
    roles = role_names(cluster.database)
    if set(roles) <= set(cluster.role_passwords):
        give_to_roles(cluster, cluster.database, roles)


def give_to_roles(cluster: Cluster, database: str, roles: Sequence[str]) -> None:
    """Gives a database to its roles, in the order of `role_names`: all its objects belong to the
    owner, only the three may connect, and the reader takes no advisory lock. Idempotent."""
    owner, service, reader = roles
    with _connected(cluster, database) as cursor:
        cursor.execute(_statement("ALTER DATABASE {} OWNER TO {}", database, owner))
        cursor.execute(_HAND_OVER.replace("{owner}", owner))
        cursor.execute(_statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", database))
        for role in (service, reader):
            cursor.execute(_statement("GRANT CONNECT ON DATABASE {} TO {}", database, role))
        cursor.execute(_KEEP_LOCKS.replace("{owner}", owner).replace("{service}", service))


def _make_role(cursor: Cursor, role: str, password: str) -> None:
    """The password is hashed here, so that the server never sees nor logs it."""
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
    if cursor.rowcount == 0:
        cursor.execute(_statement("CREATE ROLE {} LOGIN", role))
    hashed = encrypt_password(password, role, cursor.connection, "scram-sha-256")
    cursor.execute(_statement("ALTER ROLE {} PASSWORD", role) + sql.SQL(" ") + sql.Literal(hashed))


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))


@contextmanager
def _connected(cluster: Cluster, database: str) -> Iterator[Cursor]:
    connection = psycopg2.connect(
        cluster.superuser_url_of(database), connect_timeout=CONNECT_TIMEOUT_SECONDS
    )
    with closing(connection), connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor
