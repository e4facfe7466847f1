"""Secrets are made once, and only their owner can read them."""

import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.local.secrets import credentials
from mesh.identity.keys import key_id, load_private_key
from mesh.identity.service_keys import ServiceKeyFolder

FOLDERS = ("service_keys", "public_keys")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def kid_of(key_file: Path) -> str:
    return key_id(load_private_key(key_file.read_bytes()).public_key())


def test_secrets_are_made_once(tmp_path: Path) -> None:
    credentials.load_or_make(tmp_path)
    before = {path: path.read_bytes() for path in files_in(tmp_path)}
    credentials.load_or_make(tmp_path)
    assert {path: path.read_bytes() for path in files_in(tmp_path)} == before


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    credentials.load_or_make(tmp_path, lambda: datetime(2027, 1, 31, 19, 45, tzinfo=UTC))
    names = {path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path)}
    assert names == {
        *(f"{folder}/{name}.pem" for folder in FOLDERS for name in credentials.IDENTITIES),
        "signing_keys/20270131T194500Z.pem",
        "payment_secret_key",
        "payment_webhook_secret",
        "postgres_password",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_in(tmp_path)} == {0o600}
    for folder in (*FOLDERS, "signing_keys"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_keys_are_different_ed25519_keys(tmp_path: Path) -> None:
    made = credentials.load_or_make(tmp_path)
    paths = [made.service_key(name) for name in credentials.IDENTITIES]
    pems = {path.read_bytes() for path in (*paths, *made.signing_keys.iterdir())}
    assert len(pems) == len(paths) + 1
    for pem in pems:
        assert isinstance(load_pem_private_key(pem, password=None), Ed25519PrivateKey)


def test_each_service_is_known_by_its_own_key(tmp_path: Path) -> None:
    made = credentials.load_or_make(tmp_path)
    known = ServiceKeyFolder(made.public_keys)
    for name in credentials.IDENTITIES:
        found = known.find(kid_of(made.service_key(name)))
        assert found is not None
        assert found.service == name


def test_a_key_that_was_replaced_is_known_beside_the_old_one_kept_under_another_name(
    tmp_path: Path,
) -> None:
    made = credentials.load_or_make(tmp_path)
    key_file, public = made.service_key("gacha_svc"), made.public_keys / "gacha_svc.pem"
    public.rename(made.public_keys / "gacha_svc.old.pem")
    old_kid = kid_of(key_file)
    key_file.unlink()
    credentials.load_or_make(tmp_path)
    known = ServiceKeyFolder(made.public_keys)
    assert old_kid != kid_of(key_file)
    for kid in (old_kid, kid_of(key_file)):
        found = known.find(kid)
        assert found is not None
        assert found.service == "gacha_svc"


def test_a_secret_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres_password.new").write_text("half a passw")
    assert len(credentials.load_or_make(tmp_path).postgres_password) == 48
