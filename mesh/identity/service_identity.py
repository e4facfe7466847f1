"""The identity that a process shows to other services: a token with its service's name.

A token is valid for a minute and signed with the service's own key. The key file is read
again for every token, so that a new key is used within half a minute, without a restart.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.calls import AUTHORIZATION, Metadata
from mesh.identity.keys import load_private_key
from mesh.identity.tokens import SERVICE_AUDIENCE, SERVICE_TOKEN_SECONDS, TokenSigner

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
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """A token that is valid for at least half of its lifetime from now."""
        if self._clock() >= self._renew_at:
            self._read_key()
            signer = TokenSigner(self._key, SERVICE_AUDIENCE, SERVICE_TOKEN_SECONDS, self._clock)
            self._token = signer.sign(self._name)
            self._renew_at = self._clock() + SERVICE_TOKEN_SECONDS / 2
        return self._token

    def metadata(self) -> Metadata:
        """The metadata of a call that this process makes as a service."""
        return {AUTHORIZATION: f"Bearer {self.token()}"}

    def _read_key(self) -> None:
        if self._key_file is None:
            return
        try:
            self._key = load_private_key(self._key_file.read_bytes())
        except (OSError, ValueError) as error:
            log.error("fail_service_key", file=str(self._key_file), error=type(error).__name__)
