"""The privileges of a database's roles: declared in a file, applied as a whole, compared.

A database has an owner, who migrates it and whose objects all are; a service role, as which the
instances connect; and a role that only reads, for ETL and support. A file (`grants.toml` of the
service) declares what the last two may do. `apply_grants` makes the database agree with it, and
takes away what the file does not name. `mesh.postgres.schema.effective_grants` compares.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

KINDS = ("service", "reader")
_PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z0-9_]+(?:, [a-z0-9_]+)*)\))?")
_HAS_COLUMNS = {"INSERT": True, "DELETE": False}
"""Whether a privilege must or must not name columns. Who may insert into a whole table may also
write what is the database's own, such as the time of a fact."""
_SEPARATOR = re.compile(r", (?=[A-Z])")

_OBJECTS = """
SELECT 'table', relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'function', proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
ORDER BY 1, 2
"""

Columns = frozenset[str]
WHOLE: Columns = frozenset()
"""In place of the columns of a privilege: it is for the whole table."""


class GrantError(Exception):
    """Grants cannot be applied; the message names the remedy."""


def parse_privileges(text: str) -> Mapping[str, Columns]:
    """The columns by privilege of `SELECT, UPDATE (balance, entry_count)`; empty for ''.
    Raises ValueError."""
    privileges: dict[str, Columns] = {}
    for part in _SEPARATOR.split(text) if text else []:
        match = _PRIVILEGE.fullmatch(part)
        if match is None or match[1] in privileges:
            raise ValueError(f"{part!r} is not a privilege such as SELECT or UPDATE (balance)")
        if _HAS_COLUMNS.get(match[1], bool(match[2])) != bool(match[2]):
            raise ValueError(
                f"{part!r} is not a privilege: INSERT names its columns, and DELETE has none"
            )
        privileges[match[1]] = frozenset(match[2].split(", ")) if match[2] else WHOLE
    return privileges


def _checked(text: str) -> str:
    parse_privileges(text)
    return text


Privileges = Annotated[str, AfterValidator(_checked)]
Name = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]


class TableGrants(BaseModel):
    """What the roles may do with one table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Privileges = ""
    reader: Privileges = ""


class Grants(BaseModel):
    """The content of a `grants.toml`: the names of the roles, and what they may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Name
    reader: Name
    tables: Mapping[Name, TableGrants]
    functions: Mapping[Name, frozenset[str]] = MappingProxyType({})

    def role(self, kind: str) -> str:
        """The name of a role; `kind` is one of KINDS."""
        return str(getattr(self, kind))

    def of_table(self, table: str, kind: str) -> Mapping[str, Columns]:
        """The columns by privilege that a role has on a table; none on an undeclared one."""
        declared = self.tables.get(table, TableGrants())
        return parse_privileges(getattr(declared, kind))

    def of_function(self, function: str, kind: str) -> bool:
        return kind in self.functions.get(function, ())


def read_grants(path: Path) -> Grants:
    """Reads a `grants.toml`. Raises ValueError where it is not as it must be."""
    return Grants.model_validate(tomllib.loads(path.read_text()))


def apply_grants(cursor: Cursor, grants: Grants) -> None:
    """Gives the roles what is declared, and takes all else in schema public from them and from
    PUBLIC, and temporary tables, in one transaction. Call it as the owner. Idempotent. Raises
    GrantError."""
    _require_roles(cursor, grants)
    roles = sql.SQL(", ").join(sql.Identifier(grants.role(kind)) for kind in KINDS)
    cursor.execute("BEGIN")
    try:
        for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            revoke = sql.SQL("REVOKE ALL ON ALL {} IN SCHEMA public FROM PUBLIC, {}")
            cursor.execute(revoke.format(sql.SQL(what), roles))
        _take_temporary(cursor, roles)
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(roles))
        for statement in _statements(grants):
            cursor.execute(statement)
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise


def _take_temporary(cursor: Cursor, roles: sql.Composable) -> None:
    """A temporary table may have the name of a real one, and is found before it."""
    cursor.execute("SELECT current_database()")
    (database,) = cursor.fetchone() or ("",)
    revoke = sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC, {}")
    cursor.execute(revoke.format(sql.Identifier(database), roles))


def missing_roles(cursor: Cursor, grants: Grants) -> list[str]:
    """The roles of the file that the server does not have."""
    names = [grants.role(kind) for kind in KINDS]
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (names,))
    there = {name for (name,) in cursor.fetchall()}
    return [name for name in names if name not in there]


def _require_roles(cursor: Cursor, grants: Grants) -> None:
    missing = missing_roles(cursor, grants)
    if missing:
        commands = " ".join(f"CREATE ROLE {name} LOGIN PASSWORD '...';" for name in missing)
        raise GrantError(
            f"The server has no role {' and no role '.join(missing)}. As its superuser run: "
            f"{commands}"
        )


def _statements(grants: Grants) -> Iterator[sql.Composable]:
    for kind in KINDS:
        role = sql.Identifier(grants.role(kind))
        for table in grants.tables:
            for privilege, columns in grants.of_table(table, kind).items():
                names = sql.SQL(", ").join(map(sql.Identifier, sorted(columns)))
                yield sql.SQL("GRANT {} {} ON TABLE {} TO {}").format(
                    sql.SQL(privilege),
                    sql.SQL("({})").format(names) if columns else sql.SQL(""),
                    sql.Identifier(table),
                    role,
                )
        for function in grants.functions:
            if grants.of_function(function, kind):
                yield sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                    sql.Identifier(function), role
                )


def undeclared(cursor: Cursor, grants: Grants) -> list[str]:
    """The tables, views and functions of schema public that the file does not name, such as
    `table ledger`. Functions of triggers need no grant."""
    cursor.execute(_OBJECTS)
    declared = {"table": grants.tables, "function": grants.functions}
    return [f"{what} {name}" for what, name in cursor.fetchall() if name not in declared[what]]
