"""The mesh's own secrets: made once, kept in files that their owner alone may read."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True, slots=True)
class Credentials:
    """`service_key` signs what processes of the mesh say to one another, `account_signing_key`
    players' tokens: both are paths of Ed25519 keys (PKCS8, PEM). The service proves itself to
    the payment provider with what is in `payment_secret_key`, and the provider signs its
    webhooks with what is in `payment_webhook_secret`.
    """

    service_key: Path
    account_signing_key: Path
    payment_secret_key: Path
    payment_webhook_secret: Path
    postgres_password: str


def load_or_make(folder: Path) -> Credentials:
    """Makes what is missing, atomically. Idempotent; the caller holds the lock of the run."""
    service_key = folder / "mesh_service_key.pem"
    account_signing_key = folder / "account_signing_key.pem"
    payment_secret_key = folder / "payment_secret_key"
    payment_webhook_secret = folder / "payment_webhook_secret"
    postgres_password = folder / "postgres_password"
    for path in (service_key, account_signing_key):
        _make_once(path, _ed25519_pem)
    for path in (payment_secret_key, payment_webhook_secret, postgres_password):
        _make_once(path, lambda: secrets.token_hex(24).encode())
    return Credentials(
        service_key,
        account_signing_key,
        payment_secret_key,
        payment_webhook_secret,
        postgres_password.read_text().strip(),
    )


def _ed25519_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _make_once(path: Path, make: Callable[[], bytes]) -> None:
    if path.exists():
        return
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
