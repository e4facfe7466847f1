"""Ed25519 keys (RFC 8037): key ids, key files, and lookup of public keys."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

PublicKeys = Callable[[str], Awaitable[Ed25519PublicKey | None]]
"""Finds a public key by its id; None if it is unknown. It runs on every authentication, so
a key is no longer accepted once this stops returning it."""


KnownKeys = Callable[[str], Ed25519PublicKey | None]
"""Like PublicKeys, among keys that are there already."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A public key and the one service that it belongs to."""

    service: str
    key: Ed25519PublicKey


ServiceKeys = Callable[[str], ServiceKey | None]
"""Like PublicKeys, for the keys of services."""


def key_id(key: Ed25519PublicKey) -> str:
    """The RFC 7638 thumbprint of a public key."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{public_octets(key)}"}}'
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def public_octets(key: Ed25519PublicKey) -> str:
    """The key as in a JSON Web Key: base64url without padding."""
    return _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def load_private_key(pem: bytes) -> Ed25519PrivateKey:
    """Reads a PKCS8 PEM. Raises ValueError if it is not an Ed25519 private key."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the key is not an Ed25519 private key")
    return key


def fixed_keys(*keys: Ed25519PublicKey) -> PublicKeys:
    """PublicKeys over a fixed set of keys."""
    by_id = {key_id(key): key for key in keys}

    async def find(kid: str) -> Ed25519PublicKey | None:
        return by_id.get(kid)

    return find


def fixed_known_keys(*keys: Ed25519PublicKey) -> KnownKeys:
    """KnownKeys over a fixed set of keys."""
    return {key_id(key): key for key in keys}.get


def fixed_service_keys(keys: Mapping[str, Ed25519PublicKey]) -> ServiceKeys:
    """ServiceKeys over a fixed set of keys, by service name."""
    return {key_id(key): ServiceKey(service, key) for service, key in keys.items()}.get


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
