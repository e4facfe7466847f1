"""Compares what a role may really do in a database with what is declared for it.

So a service does not start with fewer privileges than it needs, nor with more, as it would have
as the owner of the tables or as one of its members.
"""

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.schema.grants import WHOLE, Columns, Grants

_WATCHED = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
_WHOLE = """
SELECT class.relname, kind.privilege
FROM pg_class AS class CROSS JOIN unnest(%(watched)s) AS kind (privilege)
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p', 'v', 'm')
  AND has_table_privilege(%(role)s, class.oid, kind.privilege)
"""
_COLUMNS = """
SELECT class.relname, kind.privilege, attribute.attname
FROM pg_class AS class JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid
CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS kind (privilege)
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p', 'v', 'm')
  AND attribute.attnum > 0 AND NOT attribute.attisdropped
  AND has_column_privilege(%(role)s, class.oid, attribute.attnum, kind.privilege)
"""
_FUNCTIONS = """
SELECT proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(%(role)s, oid, 'EXECUTE')
"""
_TEMPORARY = "SELECT has_database_privilege(%(role)s, current_database(), 'TEMPORARY')"


@dataclass(frozen=True, slots=True)
class EffectiveGrants:
    """What a role may do. `whole` has tables with a privilege, `columns` also the column;
    a privilege on a table is one on each of its columns."""

    whole: frozenset[tuple[str, str]]
    columns: frozenset[tuple[str, str, str]]
    functions: frozenset[str]
    makes_temporary: bool
    """Whether it may make temporary tables, which are found before real ones of their name."""

    def has(self, table: str, privilege: str, columns: Columns) -> bool:
        if (table, privilege) in self.whole:
            return True
        return columns != WHOLE and all((table, privilege, c) in self.columns for c in columns)

    def exceeds(self, table: str, privilege: str, declared: Columns | None) -> bool:
        """Whether the privilege is on more than the declared columns; None declares nothing."""
        if declared == WHOLE:
            return False
        if (table, privilege) in self.whole:
            return True
        return any(
            column not in (declared or ())
            for name, each, column in self.columns
            if (name, each) == (table, privilege)
        )


def read_effective(cursor: Cursor, role: str) -> EffectiveGrants:
    """What the role may do in schema public, and whether it may make temporary tables, as itself
    or as a member of other roles."""
    values = {"role": role, "watched": list(_WATCHED)}
    found: list[list[tuple[str, ...]]] = []
    for query in (_WHOLE, _COLUMNS, _FUNCTIONS):
        cursor.execute(query, values)
        found.append(cursor.fetchall())
    whole, columns, functions = found
    cursor.execute(_TEMPORARY, values)
    return EffectiveGrants(
        frozenset((table, privilege) for table, privilege in whole),
        frozenset((table, privilege, column) for table, privilege, column in columns),
        frozenset(name for (name,) in functions),
        cursor.fetchone() == (True,),
    )


def grant_faults(effective: EffectiveGrants, grants: Grants, kind: str) -> list[str]:
    """What a role lacks of the declared privileges of its kind, and what it may do beyond them with
    declared tables and temporary ones; each as half a sentence, such as `lacks INSERT on ledger`.
    Pure."""
    lacks = [
        f"lacks {_words(privilege, columns)} on {table}"
        for table in grants.tables
        for privilege, columns in grants.of_table(table, kind).items()
        if not effective.has(table, privilege, columns)
    ]
    lacks += [
        f"lacks EXECUTE on {function}"
        for function in grants.functions
        if grants.of_function(function, kind) and function not in effective.functions
    ]
    exceeds = [
        f"has {privilege} on {table}, which it must not have"
        for table in grants.tables
        for privilege in _WATCHED
        if effective.exceeds(table, privilege, grants.of_table(table, kind).get(privilege))
    ]
    if effective.makes_temporary:
        exceeds.append("has TEMPORARY on the database, which it must not have")
    return lacks + exceeds


def _words(privilege: str, columns: Columns) -> str:
    return f"{privilege} ({', '.join(sorted(columns))})" if columns else privilege
