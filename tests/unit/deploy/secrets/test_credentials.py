"""Secrets are made once, and only their owner can read them."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.local.layout import Layout
from deploy.local.secrets import credentials
from deploy.local.servers.databases import role_names
from deploy.local.topology import DATABASES
from mesh.identity.keys import key_id, load_private_key
from mesh.identity.service_keys import ServiceKeyFolder

FOLDERS = ("service_keys", "public_keys")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.make_folders()
    return made


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def kid_of(key_file: Path) -> str:
    return key_id(load_private_key(key_file.read_bytes()).public_key())


def test_secrets_are_made_once(layout: Layout) -> None:
    credentials.load_or_make(layout)
    before = {path: path.read_bytes() for path in files_in(layout.secrets)}
    credentials.load_or_make(layout)
    assert {path: path.read_bytes() for path in files_in(layout.secrets)} == before


def test_only_the_owner_can_read_them(layout: Layout) -> None:
    credentials.load_or_make(layout, lambda: datetime(2027, 1, 31, 19, 45, tzinfo=UTC))
    names = {path.relative_to(layout.secrets).as_posix() for path in files_in(layout.secrets)}
    assert names == {
        *(f"{folder}/{name}.pem" for folder in FOLDERS for name in credentials.IDENTITIES),
        "signing_keys/20270131T194500Z.pem",
        "payment_secret_key",
        "payment_webhook_secret",
        "postgres_password",
        *(f"postgres/{role}" for name in DATABASES.values() for role in role_names(name)),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_in(layout.secrets)} == {0o600}
    for folder in (*FOLDERS, "signing_keys"):
        assert stat.S_IMODE((layout.secrets / folder).stat().st_mode) == 0o700


def test_keys_are_different_ed25519_keys(layout: Layout) -> None:
    credentials.load_or_make(layout)
    paths = [layout.service_key(name) for name in credentials.IDENTITIES]
    pems = {path.read_bytes() for path in (*paths, *layout.signing_keys.iterdir())}
    assert len(pems) == len(paths) + 1
    for pem in pems:
        assert isinstance(load_pem_private_key(pem, password=None), Ed25519PrivateKey)


def test_each_service_is_known_by_its_own_key(layout: Layout) -> None:
    credentials.load_or_make(layout)
    known = ServiceKeyFolder(layout.public_keys)
    for name in credentials.IDENTITIES:
        found = known.find(kid_of(layout.service_key(name)))
        assert found is not None
        assert found.service == name


def test_a_key_that_was_replaced_is_known_beside_the_old_one_kept_under_another_name(
    layout: Layout,
) -> None:
    credentials.load_or_make(layout)
    key_file, public = layout.service_key("gacha_svc"), layout.public_keys / "gacha_svc.pem"
    public.rename(layout.public_keys / "gacha_svc.old.pem")
    old_kid = kid_of(key_file)
    key_file.unlink()
    credentials.load_or_make(layout)
    known = ServiceKeyFolder(layout.public_keys)
    assert old_kid != kid_of(key_file)
    for kid in (old_kid, kid_of(key_file)):
        found = known.find(kid)
        assert found is not None
        assert found.service == "gacha_svc"


def test_an_incomplete_secret_is_made_anew(layout: Layout) -> None:
    (layout.secrets / "postgres_password.new").write_text("half a passw")
    assert len(credentials.load_or_make(layout).postgres_password) == 48
