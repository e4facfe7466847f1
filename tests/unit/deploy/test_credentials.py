"""Secrets are made once, and only their owner can read them."""

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.local import credentials


def test_secrets_are_made_once(tmp_path: Path) -> None:
    credentials.load_or_make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    credentials.load_or_make(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    credentials.load_or_make(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {
        "mesh_service_key.pem": 0o600,
        "account_signing_key.pem": 0o600,
        "payment_secret_key": 0o600,
        "payment_webhook_secret": 0o600,
        "postgres_password": 0o600,
    }


def test_keys_are_two_different_ed25519_keys(tmp_path: Path) -> None:
    made = credentials.load_or_make(tmp_path)
    pems = [path.read_bytes() for path in (made.service_key, made.account_signing_key)]
    assert pems[0] != pems[1]
    for pem in pems:
        assert isinstance(load_pem_private_key(pem, password=None), Ed25519PrivateKey)


def test_a_secret_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres_password.new").write_text("half a passw")
    assert len(credentials.load_or_make(tmp_path).postgres_password) == 48
