"""What a service needs of its database server and of its role there, checked when it starts.

Every fault is found at once, each with its remedy. `read_facts` reads; `server_faults` and
`role_faults` are pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

MIN_VERSION = 150_000
"""PostgreSQL 15: from there on not everybody may create tables in schema public."""

_SETTINGS = (
    *("server_version_num", "server_version", "max_connections", "max_prepared_transactions"),
    *("superuser_reserved_connections", "reserved_connections", "fsync", "full_page_writes"),
    *("synchronous_commit", "server_encoding"),
)
_ROLE = """
SELECT role.rolname, role.rolsuper, role.rolconnlimit, database.datname, database.datconnlimit,
       pg_has_role(role.oid, database.datdba, 'MEMBER'),
       has_schema_privilege('public', 'CREATE'),
       (SELECT count(*) FROM pg_prepared_xacts
        WHERE pg_prepared_xacts.database = current_database() AND owner <> current_user),
       lower('Ä') = 'ä'
FROM pg_roles AS role, pg_database AS database
WHERE role.rolname = current_user AND database.datname = current_database()
"""


class RequirementsUnmet(Exception):
    """The database is not as the service needs it; the message lists every fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        super().__init__(f"The database of DATABASE_URL is not as this service needs it:{listed}")
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself and of the role that asks. Limits of -1 are none."""

    settings: Mapping[str, str]
    role: str
    is_superuser: bool
    role_connection_limit: int
    database: str
    database_connection_limit: int
    owns_database: bool
    """As its owner, or as a member of that role."""
    may_create: bool
    foreign_prepared_count: int
    """Prepared transactions in this database that another role has made."""
    lowers_letters: bool
    """Whether lower() knows letters beyond ASCII, so that names are found in any case."""

    @property
    def may_change_rules(self) -> bool:
        """Whether triggers, constraints and grants do not bind the role."""
        return self.is_superuser or self.owns_database or self.may_create

    def number(self, setting: str) -> int:
        """0 for a setting that this version does not have."""
        return int(self.settings.get(setting, "0"))


def read_facts(cursor: Cursor) -> Facts:
    """Reads them with two statements, which every role may run."""
    cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_SETTINGS),))
    settings: dict[str, str] = dict(cursor.fetchall())
    cursor.execute(_ROLE)
    row = cursor.fetchone()
    assert row is not None, "the role that asks exists, and so does its database"
    return Facts(settings, *row)


def server_faults(facts: Facts, connection_count: int) -> list[str]:
    """What is wrong with the server for a service with that many connections, each with its
    remedy, as whole sentences."""
    faults = [*_version_faults(facts), *_room_faults(facts, connection_count)]
    for setting in ("fsync", "full_page_writes"):
        if facts.settings[setting] != "on":
            faults.append(
                f"{setting} is off, so that a crash of the machine loses or damages what was "
                f"confirmed to players: ALTER SYSTEM SET {setting} = on, and reload the server."
            )
    if facts.settings["synchronous_commit"] == "off":
        faults.append(
            "synchronous_commit is off, so that a crash loses what was confirmed to players: "
            "ALTER SYSTEM, ALTER DATABASE or ALTER ROLE set it; set it to on there."
        )
    if facts.settings["server_encoding"] != "UTF8":
        faults.append(
            f"The database's encoding is {facts.settings['server_encoding']}, which cannot hold "
            f"every name: CREATE DATABASE {facts.database} ENCODING 'UTF8' TEMPLATE template0."
        )
    elif not facts.lowers_letters:
        faults.append(
            "The database's locale knows no letters beyond ASCII, so that names are not found in "
            f"any case: CREATE DATABASE {facts.database} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE "
            "template0."
        )
    return faults


def role_faults(facts: Facts) -> list[str]:
    """What is wrong with the role of an instance, each with its remedy, as whole sentences."""
    faults = []
    if facts.is_superuser:
        faults.append(
            f"The role {facts.role} is a superuser, so that no rule of the database binds it: "
            "name the service's role in DATABASE_URL."
        )
    elif facts.may_change_rules:
        faults.append(
            f"The role {facts.role} owns the database or may create in schema public, so that it "
            "could change its rules: name the service's role in DATABASE_URL; the owner's is for "
            "the command migrate."
        )
    if facts.foreign_prepared_count and not facts.is_superuser:
        faults.append(
            f"{facts.foreign_prepared_count} prepared transactions are another role's, which "
            f"{facts.role} cannot end: as that role or as a superuser, COMMIT PREPARED or ROLLBACK "
            "PREPARED each gid of pg_prepared_xacts as `gachactl tx list` says."
        )
    return faults


def migrator_faults(facts: Facts) -> list[str]:
    """What is wrong with the role that migrates, each with its remedy, as whole sentences."""
    if facts.is_superuser or not facts.owns_database:
        kind = "a superuser, to whom all tables would belong" if facts.is_superuser else "not it"
        return [
            f"The database's owner migrates it, and {facts.role} is {kind}: ALTER DATABASE "
            f"{facts.database} OWNER TO a role that is no superuser, and name that one in "
            "DATABASE_URL."
        ]
    return []


def _version_faults(facts: Facts) -> list[str]:
    if facts.number("server_version_num") >= MIN_VERSION:
        return []
    return [
        f"The server is PostgreSQL {facts.settings['server_version']}: "
        f"use PostgreSQL {MIN_VERSION // 10_000} or later."
    ]


def _room_faults(facts: Facts, connection_count: int) -> list[str]:
    faults = []
    prepared = facts.number("max_prepared_transactions")
    if prepared < connection_count:
        faults.append(
            f"max_prepared_transactions is {prepared}, and this instance may prepare "
            f"{connection_count} at a time: ALTER SYSTEM SET max_prepared_transactions = "
            f"{max(facts.number('max_connections'), connection_count)}, as many as there may be "
            "connections, and restart the server."
        )
    reserved = facts.number("superuser_reserved_connections") + facts.number("reserved_connections")
    limits = {
        f"max_connections without the {reserved} reserved ones": (
            facts.number("max_connections") - reserved
        ),
        f"the connection limit of role {facts.role}": facts.role_connection_limit,
        f"the connection limit of database {facts.database}": facts.database_connection_limit,
    }
    faults += [
        f"DATABASE_CONNECTIONS is {connection_count}, and {name} is {limit}: raise the latter to "
        "the sum of DATABASE_CONNECTIONS over all instances, or lower the former."
        for name, limit in limits.items()
        if 0 <= limit < connection_count
    ]
    return faults
