"""The allowed imports, and the texts that must be equal in two places."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.saga import retention as saga_retention
from mesh.saga import rows as saga_rows
from mesh.saga import turns as saga_turns
from mesh.txn import decisions, participant


def test_imports_go_one_way(repository: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("service", "schema"),
    [
        ("account_svc", participant.SCHEMA),
        ("account_svc", saga_rows.SCHEMA),
        ("gacha_svc", participant.SCHEMA),
        ("gacha_svc", decisions.SCHEMA),
        ("gacha_svc", saga_rows.SCHEMA),
        ("account_svc", saga_retention.INDEX),
        ("gacha_svc", saga_retention.INDEX),
        ("account_svc", saga_retention.SCHEMA),
        ("gacha_svc", saga_retention.SCHEMA),
        ("account_svc", saga_turns.SCHEMA),
        ("gacha_svc", saga_turns.SCHEMA),
    ],
)
def test_a_service_has_the_tables_of_the_protocol_as_it_needs_them(
    repository: Path, service: str, schema: str
) -> None:
    folder = repository / service / "migrations"
    assert schema.strip() in "\n".join(path.read_text() for path in folder.glob("*.sql"))


SQL = re.compile(r'"""\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b|"(SELECT|INSERT|UPDATE|DELETE) ')


def test_sql_of_a_service_stands_in_its_storage_alone(repository: Path) -> None:
    strays = [
        str(path.relative_to(repository))
        for service in ("account_svc", "gacha_svc", "registry", "gateway_http", "payment_sandbox")
        for path in (repository / service).rglob("*.py")
        if "storage" not in path.relative_to(repository).as_posix() and SQL.search(path.read_text())
    ]
    assert strays == []


def test_the_project_speaks_of_no_machine(repository: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    home = re.compile(r"(?<![\w.])/(home|root|work|Users)/\w")
    strays = [
        name
        for name in tracked
        if name.endswith((".py", ".md", ".yaml", ".sql", ".toml", ".proto", "Makefile", ".sh"))
        and home.search((repository / name).read_text())
    ]
    assert strays == []
