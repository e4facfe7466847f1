"""A process that cannot start says all of its faults at once, each with its variable, in words."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from account_svc.config import AccountSettings
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.secrets import credentials
from gacha_svc.config import GachaSettings
from gateway_http.config import GatewaySettings
from mesh.process.config import ServiceSettings
from payment_sandbox.config import SandboxSettings
from registry.config import RegistrySettings

KINDS = (AccountSettings, GachaSettings, GatewaySettings, RegistrySettings, SandboxSettings)
NOWHERE = "postgresql://me:a-secret@127.0.0.1:1/wallets"
FILES = {"MESH_SERVICE_KEY_FILE": "/nowhere", "MESH_SERVICE_KEYS_DIR": "/nowhere"}
REMEDY = (
    "It was tried as role me to database wallets: start the server there, or correct the host, the "
    "database, the role or its password in the URL."
)
WRONG: dict[str, tuple[dict[str, str], set[str]]] = {
    "account_svc": (
        FILES
        | {
            "MESH_INSTANCE_ID": "gacha_svc-1",
            "MESH_REGISTRIES": "127.0.0.1:0",
            "ACCOUNT_GEM_PRICE_CURRENCY": "gold",
            "DATABASE_URL": NOWHERE,
        },
        {"MESH_LISTEN", "PAYMENT_PROVIDER", "PAYMENT_SECRET_KEY", "PAYMENT_WEBHOOK_SECRET"}
        | {"ACCOUNT_SIGNING_KEYS_DIR"},
    ),
    "gacha_svc": (
        FILES
        | {
            "MESH_INSTANCE_ID": "gacha_svc",
            "DATABASE_URL": "mysql://a:a-secret@b/c",
            "GACHA_CATALOG_FILE": "/nowhere",
        },
        {"MESH_LISTEN", "MESH_REGISTRIES"},
    ),
    "gateway_http": (
        FILES
        | {
            "MESH_INSTANCE_ID": "gateway_http-with blank",
            "MESH_CACHE_NODES": "127.0.0.1:0",
            "GATEWAY_REPORT_URL": "office",
        },
        {"MESH_LISTEN", "MESH_REGISTRIES"},
    ),
    "registry": (
        {
            "MESH_INSTANCE_ID": f"registry-{'1' * 60}",
            "MESH_SERVICE_KEYS_DIR": "/nowhere",
            "REGISTRY_ETCD": "127.0.0.1:0",
        },
        {"MESH_LISTEN"},
    ),
    "payment_sandbox": (
        {"SANDBOX_INSTANCE_ID": "sandbox-1", "SANDBOX_WEBHOOK_URL": "here"},
        {"SANDBOX_LISTEN", "SANDBOX_BOOK_FILE", "SANDBOX_SECRET_KEY", "SANDBOX_WEBHOOK_SECRET"},
    ),
}


def run(program: str, settings: dict[str, str]) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", program],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (os.EX_CONFIG, ""), ended.stderr
    return ended.stderr


@pytest.mark.parametrize("program", WRONG)
def test_all_faults_are_said_at_once_and_in_words(program: str) -> None:
    settings, missing = WRONG[program]
    first, *faults = run(program, settings).splitlines()
    assert first == "Settings are wrong; set these environment variables:"
    said = dict(fault.strip().split(": ", 1) for fault in faults)
    assert said.keys() == settings.keys() | missing
    assert len(faults) == len(said)
    for sentence in said.values():
        assert not re.search(r"\^|\\|pattern|Value error|Field required|a-secret", sentence), said


def test_a_database_that_is_away_is_listed_with_its_role_and_the_remedy() -> None:
    said = run("account_svc", {"DATABASE_URL": NOWHERE})
    assert "  DATABASE_URL: cannot be used: 127.0.0.1:1: " in said
    assert REMEDY in said


def test_a_folder_without_signing_keys_is_said_beside_a_database_that_is_away(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    credentials.load_or_make(layout)
    settings = {
        "MESH_INSTANCE_ID": "account_svc-1",
        "MESH_LISTEN": "127.0.0.1:0",
        "MESH_REGISTRIES": "127.0.0.1:1",
        "MESH_SERVICE_KEY_FILE": str(layout.service_key("account_svc")),
        "MESH_SERVICE_KEYS_DIR": str(layout.public_keys),
        "PAYMENT_PROVIDER": "sandbox",
        "PAYMENT_URL": "http://127.0.0.1:1",
        "PAYMENT_SECRET_KEY": "a secret of sixteen or more",
        "PAYMENT_WEBHOOK_SECRET": "a secret of sixteen or more",
        "ACCOUNT_SIGNING_KEYS_DIR": "/nowhere",
        "DATABASE_URL": NOWHERE,
    }
    database, folder = run("account_svc", settings).splitlines()
    assert database.startswith("The database of DATABASE_URL cannot be used: 127.0.0.1:1: ")
    assert database.endswith(REMEDY)
    assert folder.startswith("ACCOUNT_SIGNING_KEYS_DIR: /nowhere")


@pytest.mark.parametrize("kind", [AccountSettings, GachaSettings, GatewaySettings])
@pytest.mark.parametrize("owner", ["admin", "nobody"])
def test_a_key_that_is_not_the_services_own_is_refused(
    tmp_path: Path, kind: type[ServiceSettings], owner: str
) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    credentials.load_or_make(layout)
    if owner == "nobody":
        (layout.public_keys / "admin.pem").unlink()
    said = run(
        kind.SERVICE,
        {
            "MESH_SERVICE_KEY_FILE": str(layout.admin_key),
            "MESH_SERVICE_KEYS_DIR": str(layout.public_keys),
        },
    )
    found = re.search(r"^  MESH_SERVICE_KEY_FILE: (.*)$", said, re.MULTILINE)
    assert found is not None, said
    assert f"holds a key of {owner} in MESH_SERVICE_KEYS_DIR={layout.public_keys}" in found[1]
    assert f"must hold one of {kind.SERVICE}." in found[1]


@pytest.mark.parametrize(
    "url", ["postgresql://me:a-secret@h:1,h:2,h/d", "postgresql://a:a-secret%"]
)
def test_a_url_that_libpq_cannot_read_is_refused_without_its_password(url: str) -> None:
    said = run("gacha_svc", {"DATABASE_URL": url})
    assert "DATABASE_URL: " in said
    assert "a-secret" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_has_words_and_an_example_that_matches_it(kind: type[BaseSettings]) -> None:
    for name, field in kind.model_fields.items():
        patterns = [each.pattern for each in field.metadata if getattr(each, "pattern", None)]
        for pattern in patterns:
            assert field.description, name
            assert field.examples, name
            assert all(re.search(pattern, example) for example in field.examples), name
