"""The mesh's own secrets: made once, kept in files that their owner alone may read.

Each service has a key of its own, and so have the operators; beside the private keys lies a
folder with the public ones, which is all that a process needs to know the others by.
"""

import os
import secrets
from collections.abc import Callable
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

from deploy.local.secrets.certificates import now_utc
from mesh.contract.access import ADMIN
from mesh.identity.keys import load_private_key

SIGNING_KEY_FILE = "%Y%m%dT%H%M%SZ.pem"
"""account_svc requires the time of its making as the name of a key (docs/operations.md)."""
IDENTITIES = ("account_svc", "gacha_svc", "gateway_http", ADMIN)
"""Those that call services in their own name; the registry calls nobody."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`service_keys` has the folder with a service's key (NAME.pem), which signs what its
    processes say to others, `signing_keys` the folder of those that sign players' tokens: all
    are Ed25519 keys (PKCS8, PEM). `public_keys` is the folder that services are known by.
    account_svc proves itself to the payment provider with what is in `payment_secret_key`, and
    the provider signs its webhooks with what is in `payment_webhook_secret`.
    """

    service_keys: Path
    public_keys: Path
    signing_keys: Path
    payment_secret_key: Path
    payment_webhook_secret: Path
    postgres_password: str

    def service_key(self, name: str) -> Path:
        """The private key of a service, or of mesh.contract.access.ADMIN."""
        return service_key_in(self.service_keys, name)


def service_keys_in(secrets_folder: Path) -> Path:
    """Where the private keys of the services lie."""
    return secrets_folder / "service_keys"


def service_key_in(folder: Path, name: str) -> Path:
    return folder / f"{name}.pem"


def signing_keys_in(secrets_folder: Path) -> Path:
    """Where the keys lie that sign players' tokens."""
    return secrets_folder / "signing_keys"


def load_or_make(folder: Path, clock: Callable[[], datetime] = now_utc) -> Credentials:
    """Makes what is missing, atomically. Idempotent; the caller holds the lock of the run."""
    service_keys, public_keys = service_keys_in(folder), folder / "public_keys"
    _make_service_keys(service_keys, public_keys)
    signing_keys = signing_keys_in(folder)
    payment_secret_key = folder / "payment_secret_key"
    payment_webhook_secret = folder / "payment_webhook_secret"
    postgres_password = folder / "postgres_password"
    signing_keys.mkdir(mode=0o700, exist_ok=True)
    if not any(signing_keys.glob("*.pem")):
        _write(signing_keys / f"{clock():{SIGNING_KEY_FILE}}", _ed25519_pem())
    for path in (payment_secret_key, payment_webhook_secret, postgres_password):
        _make_once(path, lambda: secrets.token_hex(24).encode())
    return Credentials(
        service_keys,
        public_keys,
        signing_keys,
        payment_secret_key,
        payment_webhook_secret,
        postgres_password.read_text().strip(),
    )


def _make_service_keys(private: Path, public: Path) -> None:
    """A key for each identity, and its public half beside any others that lie there."""
    for folder in (private, public):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in IDENTITIES:
        key_file = service_key_in(private, name)
        _make_once(key_file, _ed25519_pem)
        pem = _public_pem(key_file.read_bytes())
        if all(path.read_bytes() != pem for path in public.glob(f"{name}.*pem")):
            _write(public / f"{name}.pem", pem)


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
        _write(path, make())


def _write(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
