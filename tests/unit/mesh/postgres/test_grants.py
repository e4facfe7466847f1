"""Declared grants and what a role may really do are compared without a gap."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.postgres.schema.effective_grants import EffectiveGrants, grant_faults
from mesh.postgres.schema.grants import WHOLE, Grants, TableGrants, parse_privileges

TABLES = ("ledger", "wallet", "pull")
COLUMNS = ("amount", "number", "txid")
NAMES = st.sampled_from(COLUMNS)
SOME = st.frozensets(NAMES, min_size=1)
WHOLE_OR_SOME = st.just(WHOLE) | SOME
KINDS = {
    "SELECT": WHOLE_OR_SOME,
    "INSERT": SOME,
    "UPDATE": WHOLE_OR_SOME,
    "DELETE": st.just(WHOLE),
}
PRIVILEGES = st.fixed_dictionaries({}, optional=KINDS)
REAL_PRIVILEGES = st.fixed_dictionaries({}, optional={**KINDS, "INSERT": WHOLE_OR_SOME})
DECLARED = st.fixed_dictionaries(dict.fromkeys(TABLES, PRIVILEGES))
REAL = st.fixed_dictionaries(dict.fromkeys(TABLES, REAL_PRIVILEGES))


def text_of(privileges: dict[str, frozenset[str]]) -> str:
    return ", ".join(
        f"{privilege} ({', '.join(sorted(columns))})" if columns else privilege
        for privilege, columns in privileges.items()
    )


def grants_of(declared: dict[str, dict[str, frozenset[str]]]) -> Grants:
    return Grants(
        service="account_service",
        reader="account_reader",
        tables={name: TableGrants(service=text_of(each)) for name, each in declared.items()},
        functions={"take_gems": frozenset({"service"})},
    )


def effective_of(declared: dict[str, dict[str, frozenset[str]]]) -> EffectiveGrants:
    """What PostgreSQL reports for a role that has exactly these privileges."""
    flat = [
        (table, privilege, columns)
        for table, privileges in declared.items()
        for privilege, columns in privileges.items()
    ]
    return EffectiveGrants(
        frozenset((table, privilege) for table, privilege, columns in flat if columns == WHOLE),
        frozenset(
            (table, privilege, column)
            for table, privilege, columns in flat
            if privilege != "DELETE"
            for column in (columns or COLUMNS)
        ),
        frozenset({"take_gems"}),
        makes_temporary=False,
    )


@given(PRIVILEGES)
def test_privileges_are_read_as_they_are_written(privileges: dict[str, frozenset[str]]) -> None:
    assert parse_privileges(text_of(privileges)) == privileges


@given(DECLARED)
def test_a_role_with_what_is_declared_has_no_fault(
    declared: dict[str, dict[str, frozenset[str]]],
) -> None:
    assert grant_faults(effective_of(declared), grants_of(declared), "service") == []


@given(DECLARED, REAL)
def test_every_difference_is_told(
    declared: dict[str, dict[str, frozenset[str]]],
    really: dict[str, dict[str, frozenset[str]]],
) -> None:
    """Naming each column is the same as the whole table only to PostgreSQL's reader, so the
    model leaves that case out."""
    for each in (*declared.values(), *really.values()):
        for privilege in [p for p, columns in each.items() if columns == frozenset(COLUMNS)]:
            del each[privilege]
    faults = grant_faults(effective_of(really), grants_of(declared), "service")
    for table in TABLES:
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            wanted = expanded(declared[table].get(privilege))
            has = expanded(really[table].get(privilege))
            lacks = [f for f in faults if f.startswith(f"lacks {privilege}") and table in f]
            exceeds = [f for f in faults if f.startswith(f"has {privilege} on {table},")]
            assert bool(lacks) is bool(wanted - has), (table, privilege)
            assert bool(exceeds) is bool(has - wanted), (table, privilege)


def expanded(columns: frozenset[str] | None) -> frozenset[str]:
    """The columns that a privilege is for, and the table itself for the whole of it."""
    if columns is None:
        return frozenset()
    return columns or frozenset({*COLUMNS, "the table"})
