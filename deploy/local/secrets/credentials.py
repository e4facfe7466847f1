"""The mesh's own secrets: made once, kept in files that only their owner may read.

Each service has a key of its own, and so have the operators. A second folder has only the public
keys; with these a process recognizes the others.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from deploy.local.layout import Layout
from deploy.local.secrets.certificates import now_utc
from deploy.local.servers.databases import role_names
from deploy.local.topology import DATABASES
from mesh.contract.access import ADMIN
from mesh.identity.keys import load_private_key
from mesh.private_files import replace_file

SIGNING_KEY_FILE = "%Y%m%dT%H%M%SZ.pem"
"""A signing key is named after its time of creation; account_svc requires it
(docs/operations.md)."""
IDENTITIES = ("account_svc", "gacha_svc", "gateway_http", ADMIN)
"""The services that call others in their own name; the registry calls no service."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of secrets, and passwords of PostgreSQL: the superuser's, and those of the other
    roles by their names. account_svc authenticates to the payment provider with the content of
    `payment_secret_key`. The provider signs its webhooks with the content of
    `payment_webhook_secret`."""

    payment_secret_key: Path
    payment_webhook_secret: Path
    postgres_password: str
    role_passwords: Mapping[str, str]


def load_or_make(layout: Layout, clock: Callable[[], datetime] = now_utc) -> Credentials:
    """Makes each missing secret and key atomically. Keys are Ed25519 (PKCS8, PEM) and lie where
    the layout says. Idempotent; the caller has made the layout's folders and holds its lock."""
    _make_service_keys(layout)
    payment_secret_key = layout.secrets / "payment_secret_key"
    payment_webhook_secret = layout.secrets / "payment_webhook_secret"
    postgres_password = layout.secrets / "postgres_password"
    layout.signing_keys.mkdir(mode=0o700, exist_ok=True)
    if not any(layout.signing_keys.glob("*.pem")):
        replace_file(layout.signing_keys / f"{clock():{SIGNING_KEY_FILE}}", _ed25519_pem())
    for path in (payment_secret_key, payment_webhook_secret, postgres_password):
        _make_once(path, _password)
    return Credentials(
        payment_secret_key,
        payment_webhook_secret,
        postgres_password.read_text().strip(),
        _role_passwords(layout),
    )


def _role_passwords(layout: Layout) -> Mapping[str, str]:
    layout.role_passwords.mkdir(mode=0o700, exist_ok=True)
    passwords = {}
    for role in (role for database in DATABASES.values() for role in role_names(database)):
        path = layout.role_passwords / role
        _make_once(path, _password)
        passwords[role] = path.read_text().strip()
    return passwords


def _password() -> bytes:
    return secrets.token_hex(24).encode()


def _make_service_keys(layout: Layout) -> None:
    """Makes a key for each identity. Other public keys in the folder are kept."""
    for folder in (layout.service_keys, layout.public_keys):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in IDENTITIES:
        key_file = layout.service_key(name)
        _make_once(key_file, _ed25519_pem)
        pem = _public_pem(key_file.read_bytes())
        if all(path.read_bytes() != pem for path in layout.public_keys.glob(f"{name}.*pem")):
            replace_file(layout.public_keys / f"{name}.pem", pem)


def _public_pem(private_pem: bytes) -> bytes:
    return (
        load_private_key(private_pem)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def _ed25519_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _make_once(path: Path, make: Callable[[], bytes]) -> None:
    if not path.exists():
        replace_file(path, make())
