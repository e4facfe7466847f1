"""Each fault of a server or a role is named with its remedy, and all at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.postgres.schema.requirements import (
    Facts,
    migrator_faults,
    role_faults,
    server_faults,
)

FIT = Facts(
    settings={
        "server_version_num": "180006",
        "server_version": "18.6",
        "max_connections": "200",
        "max_prepared_transactions": "200",
        "superuser_reserved_connections": "3",
        "reserved_connections": "0",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "server_encoding": "UTF8",
    },
    role="gacha_service",
    is_superuser=False,
    role_connection_limit=-1,
    database="gacha",
    database_connection_limit=-1,
    owns_database=False,
    may_create=False,
    foreign_prepared_count=0,
    lowers_letters=True,
)
OWNER = replace(FIT, role="gacha_owner", owns_database=True, may_create=True)
CONNECTIONS = 12
UNFIT = {
    "server_version_num": ("140010", "use PostgreSQL 15 or later"),
    "max_prepared_transactions": ("0", "SET max_prepared_transactions ="),
    "max_connections": ("14", "max_connections without the 3 reserved ones is 11"),
    "fsync": ("off", "SET fsync = on"),
    "full_page_writes": ("off", "SET full_page_writes = on"),
    "synchronous_commit": ("off", "set it to on there"),
    "server_encoding": ("SQL_ASCII", "ENCODING 'UTF8'"),
}


def with_settings(**settings: str) -> Facts:
    return replace(FIT, settings={**FIT.settings, **settings})


def test_a_fit_server_and_the_services_role_have_no_fault() -> None:
    assert server_faults(FIT, CONNECTIONS) == []
    assert role_faults(FIT) == []
    assert migrator_faults(OWNER) == []


@pytest.mark.parametrize("setting", UNFIT)
def test_an_unfit_setting_is_named_with_its_remedy(setting: str) -> None:
    value, remedy = UNFIT[setting]
    (fault,) = server_faults(with_settings(**{setting: value}), CONNECTIONS)
    assert remedy in fault


def test_a_locale_without_letters_is_named_with_its_remedy() -> None:
    (fault,) = server_faults(replace(FIT, lowers_letters=False), CONNECTIONS)
    assert "LOCALE 'C.UTF-8'" in fault


@given(st.sets(st.sampled_from(sorted(UNFIT))))
def test_every_fault_is_told_at_once(unfit: set[str]) -> None:
    facts = with_settings(**{setting: UNFIT[setting][0] for setting in unfit})
    faults = server_faults(facts, CONNECTIONS)
    assert len(faults) == len(unfit)
    for setting in unfit:
        assert any(UNFIT[setting][1] in fault for fault in faults)


@pytest.mark.parametrize(
    ("facts", "limit"),
    [
        (
            replace(FIT, role_connection_limit=11),
            "limit of role gacha_service is 11",
        ),
        (replace(FIT, database_connection_limit=0), "limit of database gacha is 0"),
        (
            with_settings(max_connections="20", reserved_connections="6"),
            "9 reserved ones is 11",
        ),
    ],
)
def test_every_bound_on_connections_is_compared_with_the_pool(facts: Facts, limit: str) -> None:
    (fault,) = server_faults(facts, CONNECTIONS)
    assert fault.startswith("DATABASE_CONNECTIONS is 12")
    assert limit in fault
    assert server_faults(facts, 0) == []


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        (replace(FIT, is_superuser=True, may_create=True), "is a superuser"),
        (replace(FIT, owns_database=True), "owns the database"),
        (replace(FIT, may_create=True), "may create in schema public"),
        (replace(FIT, foreign_prepared_count=2), "2 prepared transactions are another role's"),
    ],
)
def test_a_role_that_no_rule_binds_is_refused(facts: Facts, fault: str) -> None:
    (said,) = role_faults(facts)
    assert fault in said


@pytest.mark.parametrize("facts", [FIT, replace(OWNER, is_superuser=True)])
def test_only_the_owner_migrates(facts: Facts) -> None:
    (fault,) = migrator_faults(facts)
    assert "ALTER DATABASE gacha OWNER TO" in fault
