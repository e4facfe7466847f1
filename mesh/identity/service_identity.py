"""The identity that a process shows to other services: tokens with its service's name.

A token is valid for a minute, at one service alone, and signed with the own key. So a service
cannot use at a third one what it was shown. The key file is read again for every token, so that
a new key is used within half a minute, without a restart.

    credential = identity.towards("account_svc")
    await account_svc.call(method, request, credential.metadata(), deadline)

From the key follow also secrets that only the instances of the service share.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.calls import AUTHORIZATION, Metadata
from mesh.identity.keys import load_private_key
from mesh.identity.tokens import SERVICE_TOKEN_SECONDS, TokenSigner, service_audience

SECRET_BYTES = 32

log = structlog.get_logger()


class ServiceIdentity:
    """A service's name and private key."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        name: str,
        clock: Callable[[], float] = time.time,
        *,
        key_file: Path | None = None,
    ) -> None:
        """`key_file` is the file of `key`, if it is to be read again. While the file holds no
        valid key, the last valid one stays in use."""
        self._key = key
        self._key_file = key_file
        self._name = name
        self._clock = clock

    def towards(self, callee: str) -> "Credential":
        """What this process shows to the service of that name. Keep it: it remembers its token."""
        return Credential(partial(self._sign, callee), self._clock)

    def secret(self, purpose: str) -> bytes:
        """SECRET_BYTES that follow from the private key and the purpose (HKDF, RFC 5869): the same
        in every process with that key, and another one for each purpose. After a change of the
        key a call returns another secret."""
        self._read_key()
        derive = HKDF(SHA256(), SECRET_BYTES, salt=None, info=purpose.encode())
        return derive.derive(self._key.private_bytes_raw())

    def _sign(self, callee: str) -> str:
        self._read_key()
        audience = service_audience(callee)
        return TokenSigner(self._key, audience, SERVICE_TOKEN_SECONDS, self._clock).sign(self._name)

    def _read_key(self) -> None:
        if self._key_file is None:
            return
        try:
            self._key = load_private_key(self._key_file.read_bytes())
        except (OSError, ValueError) as error:
            log.error("fail_service_key", file=str(self._key_file), error=type(error).__name__)


class Credential:
    """The tokens of a service for calls of one other service."""

    def __init__(self, sign: Callable[[], str], clock: Callable[[], float]) -> None:
        """`sign` returns a new token. `clock` gives seconds since 1970."""
        self._sign = sign
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """A token that is valid for at least half of its lifetime from now."""
        if self._clock() >= self._renew_at:
            self._token = self._sign()
            self._renew_at = self._clock() + SERVICE_TOKEN_SECONDS / 2
        return self._token

    def metadata(self) -> Metadata:
        """The metadata of a call that this process makes as a service."""
        return {AUTHORIZATION: f"Bearer {self.token()}"}
